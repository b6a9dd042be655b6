package identity

import (
	"strings"
)

const (
	maxEmail      = 254 // RFC 5321 section 4.5.3.1.3
	maxEmailLocal = 64  // RFC 5321 section 4.5.3.1.1
)

// mailbox is an address of mail in its one normal form, with the blind index it is looked up by.
type mailbox struct {
	address string
	index   []byte
}

// mailbox reads an address as a customer typed it. Errors: ErrEmailRequired, ErrEmailInvalid.
func (s *Service) mailbox(typed string) (mailbox, error) {
	address, err := normaliseEmail(typed)
	if err != nil {
		return mailbox{}, err
	}
	return mailbox{address, s.vault.Hash("email", address)}, nil
}

// normaliseEmail trims and lower-cases an address (the app does not, contract/accounts section 1) and accepts the
// plain form local@domain: a dot-atom and a domain name of two labels or more, ASCII only. Quoted local parts, comments,
// address literals and internationalised addresses are refused; the app's own forms let none of them pass.
func normaliseEmail(typed string) (string, error) {
	address := strings.ToLower(strings.TrimSpace(typed))
	if address == "" {
		return "", ErrEmailRequired
	}
	local, domain, found := strings.Cut(address, "@")
	if len(address) > maxEmail || !found || !validLocalPart(local) || !validDomain(domain) {
		return "", ErrEmailInvalid
	}
	return address, nil
}

func validLocalPart(local string) bool {
	if len(local) > maxEmailLocal {
		return false
	}
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" {
			return false
		}
		for i := range len(atom) {
			if !isLetterOrDigit(atom[i]) && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", rune(atom[i])) {
				return false
			}
		}
	}
	return true
}

func validDomain(domain string) bool {
	labels := strings.Split(domain, ".")
	if len(labels) < 2 {
		return false
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if !isLetterOrDigit(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	// A top-level domain of digits only is an IPv4 address.
	return strings.ContainsFunc(labels[len(labels)-1], func(r rune) bool { return r < '0' || r > '9' })
}

func isLetterOrDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
