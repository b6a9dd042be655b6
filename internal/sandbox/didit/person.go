package didit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// home is where a made-up person lives and has papers from.
type home struct {
	code, name          string // issuing_state, alpha-3 and in words
	alpha2, city, state string
	birthplace          string // as the document prints it, often not in Latin letters
	street, post, zone  string
	lat, lng            float64
}

var homes = []home{
	{"HKG", "Hong Kong", "HK", "Hong Kong", "Kowloon", "香港", "Nathan Road", "", "Asia/Hong_Kong", 22.3193, 114.1694},
	{"SGP", "Singapore", "SG", "Singapore", "Central", "Singapore", "Orchard Road", "238801", "Asia/Singapore", 1.3048, 103.8318},
	{"ARE", "United Arab Emirates", "AE", "Dubai", "Dubai", "دبي", "Al Wasl Road", "", "Asia/Dubai", 25.2048, 55.2708},
	{"ESP", "Spain", "ES", "Málaga", "Andalucía", "Málaga", "Calle Larios", "29005", "Europe/Madrid", 36.7213, -4.4214},
	{"DEU", "Germany", "DE", "München", "Bayern", "Köln", "Leopoldstraße", "80802", "Europe/Berlin", 48.1351, 11.582},
	{"BRA", "Brazil", "BR", "São Paulo", "SP", "Goiânia", "Avenida Paulista", "01310-100", "America/Sao_Paulo", -23.5614, -46.6559},
}

var (
	firstNames = map[string][]string{
		"F": {"Mei Ling", "Aisha", "Lucía", "Zoë", "Beatriz", "Hannah"},
		"M": {"Ka Ho", "Omar", "Diego", "Jörg", "Rafael", "Wei Jie"},
	}
	lastNames     = []string{"Chan", "Tan", "Al Mansoori", "Núñez", "Weiß", "Oliveira", "Lim", "Haddad"}
	documentTypes = []string{"Identity Card", "Passport", "Driver's License", "Residence Permit"}
)

const day = "2006-01-02"

// person is who a session finds in front of the camera.
type person struct {
	first, last    string // last is empty for people with a single name
	gender         string // M, F or U
	birth          time.Time
	nationality    string
	home           home
	documentType   string
	documentNumber string
	personalNumber string
	issued, expiry time.Time
	address        string
	network        string // IP address
	scores         [3]float64
}

func (p person) fullName() string { return strings.TrimSpace(p.first + " " + p.last) }

// person makes up who verifies in a session. The same vendor_data is the same person with the same document
// in every session, so that somebody who tries again does not look like a double; what the create call expected
// is taken over.
func (s *Simulator) person(x *session) (person, error) {
	identity := x.owner + "\x00" + x.vendorData
	if x.vendorData == "" {
		identity = x.id
	}
	sum := sha256.Sum256([]byte(identity))
	pick := func(at, n int) int { return int(binary.BigEndian.Uint16(sum[2*at:])) % n }

	p := person{gender: []string{"F", "M"}[pick(0, 2)], home: homes[pick(1, len(homes))]}
	p.first = firstNames[p.gender][pick(2, 6)]
	p.last = lastNames[pick(3, len(lastNames))]
	p.birth = time.Date(1960+pick(4, 44), time.Month(1+pick(5, 12)), 1+pick(6, 28), 0, 0, 0, 0, time.UTC)
	p.nationality = p.home.code
	p.documentType = documentTypes[pick(7, len(documentTypes))]
	p.documentNumber = fmt.Sprintf("%c%c%07d", 'A'+rune(pick(8, 26)), 'A'+rune(pick(9, 26)), binary.BigEndian.Uint32(sum[20:])%10_000_000)
	p.personalNumber = fmt.Sprintf("%09d", binary.BigEndian.Uint32(sum[24:])%1_000_000_000)
	p.issued = x.created.AddDate(-1-pick(10, 5), -pick(11, 12), 0)
	p.expiry = p.issued.AddDate(10, 0, 0)
	p.address = fmt.Sprintf("%d %s", 1+pick(12, 250), p.home.street)
	p.network = fmt.Sprintf("203.0.113.%d", 1+pick(13, 254))
	p.scores = [3]float64{float64(88 + pick(14, 12)), float64(9000+pick(15, 900)) / 100, float64(8100+pick(0, 1700)) / 100}

	expected, err := decodeObject(x.expected)
	if err != nil {
		return person{}, fmt.Errorf("expected_details of session %s: %w", x.id, err)
	}
	text := func(key string, into *string) {
		if v, ok := expected[key].(string); ok && v != "" {
			*into = v
		}
	}
	text("first_name", &p.first)
	text("last_name", &p.last)
	if last, given := expected["last_name"]; given && (last == "" || last == nil) {
		p.last = ""
	}
	text("gender", &p.gender)
	text("nationality", &p.nationality)
	text("address", &p.address)
	text("ip_address", &p.network)
	if number, ok := expected["identification_number"].(string); ok && number != "" {
		p.documentNumber, p.personalNumber = number, number
	}
	if code, ok := expected["id_country"].(string); ok && code != "" && code != p.home.code {
		p.home.code, p.home.name = code, code
		for _, h := range homes {
			if h.code == code {
				p.home = h
			}
		}
		if expected["nationality"] == nil {
			p.nationality = code
		}
	}
	if birth, err := time.Parse(day, fmt.Sprint(expected["date_of_birth"])); err == nil {
		p.birth = birth
	}
	switch x.risk {
	case "DOCUMENT_EXPIRED":
		p.issued = x.created.AddDate(-11, 0, 0)
		p.expiry = x.created.AddDate(-1, 0, 0)
	case "MINIMUM_AGE_NOT_MET":
		p.birth = x.created.AddDate(-15, 0, -1)
	}
	return p, nil
}

// age is the person's age in whole years.
func (p person) age(now time.Time) int {
	years := now.Year() - p.birth.Year()
	if now.YearDay() < time.Date(now.Year(), p.birth.Month(), p.birth.Day(), 0, 0, 0, 0, time.UTC).YearDay() {
		years--
	}
	return years
}
