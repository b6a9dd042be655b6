package pokepay

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The issuer's verdicts (provider/pokepay.md 3.4).
const (
	StatusOpen      = 1 // not reviewed, or the customer has not completed it
	StatusApproved  = 2
	StatusFailed    = 3
	StatusMismatch  = 4 // the information does not match the document
	StatusReview    = 5 // waiting for a person at the issuer's
	StatusDuplicate = 6 // the document belongs to another cardholder
)

// Texts of refusals. The first two are the issuer's own, the others are of its kind (provider/pokepay.md 2).
const (
	nameInvalid      = refusal("first_en_name or last_en_name invalid")
	emailUsed        = refusal("邮箱已被其它客户端使用")
	idNumberUsed     = refusal("id_number already exist")
	agentUIDUsed     = refusal("agent_uid already exist")
	bodyInvalid      = refusal("invalid request body")
	agentUIDInvalid  = refusal("agent_uid invalid")
	clientUIDInvalid = refusal("client_uid invalid")
)

// Types of identity documents (provider/pokepay.md 3.2): identity card, driver's licence, passport.
var idTypes = []int64{1, 7, 12}

var (
	latinName   = regexp.MustCompile(`^[A-Za-z]+(?:[ '-][A-Za-z]+)*$`)
	digits      = regexp.MustCompile(`^[0-9]{1,20}$`)
	countryCode = regexp.MustCompile(`^[A-Z]{2}$`)
)

// looseText is a text that callers may also send as a number or leave null.
type looseText string

// UnmarshalJSON implements json.Unmarshaler.
func (t *looseText) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) == nil { // null leaves it empty
		*t = looseText(strings.TrimSpace(text))
		return nil
	}
	var number json.Number
	if err := json.Unmarshal(raw, &number); err != nil {
		return err
	}
	*t = looseText(number)
	return nil
}

// cardholder holds the fields that both ways of applying share.
type cardholder struct {
	Email           looseText `json:"email"`
	FirstEnName     looseText `json:"first_en_name"`
	LastEnName      looseText `json:"last_en_name"`
	AreaCode        looseText `json:"area_code"`
	Phone           looseText `json:"phone"`
	Address         looseText `json:"address"`
	City            looseText `json:"city"`
	State           looseText `json:"state"`
	PostCode        looseText `json:"post_code"`
	BillCountryCode looseText `json:"bill_country_code"`
}

func (c cardholder) check() error {
	switch {
	case !latinName.MatchString(string(c.FirstEnName)) || !latinName.MatchString(string(c.LastEnName)):
		return nameInvalid
	case !validEmail(string(c.Email)):
		return refusal("email invalid")
	case !digits.MatchString(string(c.AreaCode)):
		return refusal("area_code invalid")
	case c.Phone != "" && !digits.MatchString(string(c.Phone)):
		return refusal("phone invalid")
	case c.Address == "":
		return refusal("address invalid")
	case c.City == "":
		return refusal("city invalid")
	case !countryCode.MatchString(string(c.BillCountryCode)):
		return refusal("bill_country_code invalid")
	}
	return nil
}

// applyTo writes the fields into an application.
func (c cardholder) applyTo(a *application) {
	a.email, a.firstEnName, a.lastEnName = string(c.Email), string(c.FirstEnName), string(c.LastEnName)
	a.areaCode, a.phone = string(c.AreaCode), string(c.Phone)
	a.address, a.city, a.state = string(c.Address), string(c.City), string(c.State)
	a.postCode, a.billCountryCode = string(c.PostCode), string(c.BillCountryCode)
}

func validEmail(address string) bool {
	parsed, err := mail.ParseAddress(address)
	return err == nil && parsed.Address == address
}

func validLink(link string) bool {
	u, err := url.Parse(link)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// checkEmail refuses an address of another agent's cardholder, and one of ours that is approved or was found
// to be a duplicate. After a failure the same agent may use it again.
func checkEmail(ctx context.Context, q querier, email string) error {
	key := emailKey(email)
	local, _, _ := strings.Cut(key, "@")
	if strings.HasSuffix(local, "+taken") || strings.HasSuffix(local, "-taken") {
		return emailUsed
	}
	var used bool
	err := q.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pokepay_foreign_emails WHERE email = $1)
		OR EXISTS (SELECT 1 FROM pokepay_kycs WHERE email_key = $1 AND status IN ($2, $3))`,
		key, StatusApproved, StatusDuplicate).Scan(&used)
	if err == nil && used {
		return emailUsed
	}
	return err
}

// initKYC opens a hosted verification (provider/pokepay.md 3.1). Each session is billed, for the same
// agent_uid as well.
func (s *Simulator) initKYC(r *http.Request) answer {
	ctx := r.Context()
	var in struct {
		cardholder
		AgentUID  looseText `json:"agent_uid"`
		ReturnURL looseText `json:"return_url"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return s.answerFor(ctx, bodyInvalid)
	}
	if err := in.check(); err != nil {
		return s.answerFor(ctx, err)
	}
	agentUID, returnURL := string(in.AgentUID), string(in.ReturnURL)
	switch {
	case agentUID == "":
		return s.answerFor(ctx, agentUIDInvalid)
	case !validLink(returnURL):
		return s.answerFor(ctx, refusal("return_url invalid"))
	}
	if err := s.checkInit(ctx, s.DB, agentUID, string(in.Email)); err != nil {
		return s.answerFor(ctx, err)
	}
	// Outside of the transaction: the simulated Didit may share our one connection.
	sessionID, link, err := s.Sessions.CreateForeign(ctx, agentUID, returnURL, string(in.FirstEnName), string(in.LastEnName), string(in.Email))
	if err != nil {
		return s.failed(ctx, fmt.Errorf("open session: %w", err))
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		// Again, since another call may have been faster.
		if err := s.checkInit(ctx, tx, agentUID, string(in.Email)); err != nil {
			return err
		}
		now := s.Clock.Now()
		a, err := findApplication(ctx, tx, filter{agentUID: agentUID})
		switch {
		case errors.Is(err, ErrUnknownKYC):
			a = application{kind: hosted, agentUID: agentUID, status: StatusOpen, created: now, updated: now}
			in.applyTo(&a)
			if a.id, err = insertApplication(ctx, tx, a); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			in.applyTo(&a)
			if a.status != StatusReview { // a new session begins anew, except under a reviewer's hands
				a.status, a.reason, a.remark, a.approveAt = StatusOpen, "", "", sql.NullInt64{}
			}
			a.updated = now
			if err := updateApplication(ctx, tx, a); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO pokepay_sessions (session_id, kyc_id, opened_at) VALUES ($1, $2, $3)`,
			sessionID, a.id, now.UnixMicro())
		return err
	})
	if err != nil {
		return s.answerFor(ctx, err)
	}
	return succeed(struct {
		SessionID string `json:"session_id"`
		URL       string `json:"url"`
	}{sessionID, link})
}

func (s *Simulator) checkInit(ctx context.Context, q querier, agentUID, email string) error {
	if err := checkEmail(ctx, q, email); err != nil {
		return err
	}
	a, err := findApplication(ctx, q, filter{agentUID: agentUID})
	switch {
	case errors.Is(err, ErrUnknownKYC):
		return nil
	case err != nil:
		return err
	case a.kind != hosted, a.status == StatusApproved, a.status == StatusDuplicate:
		return agentUIDUsed
	}
	return nil
}

// submission is the body of a self-KYC (provider/pokepay.md 3.2).
type submission struct {
	cardholder
	ClientUID looseText `json:"client_uid"`
	BirthDate looseText `json:"birth_date"`
	IDType    looseText `json:"id_type"`
	IDNumber  looseText `json:"id_number"`
	IDFront   looseText `json:"id_front"`
	IDBack    looseText `json:"id_back"`
	Selfie    looseText `json:"selfie"`
}

func (in submission) check(now time.Time) error {
	if err := in.cardholder.check(); err != nil {
		return err
	}
	birth, err := time.Parse(time.DateOnly, string(in.BirthDate))
	switch {
	case in.ClientUID == "":
		return clientUIDInvalid
	case err != nil || !birth.Before(now):
		return refusal("birth_date invalid")
	case !slices.Contains(idTypes, in.idType()):
		return refusal("id_type invalid")
	case in.IDNumber == "":
		return refusal("id_number invalid")
	case utf8.RuneCountInString(string(in.Address)) < 5:
		return refusal("address invalid")
	case utf8.RuneCountInString(string(in.City)) < 2:
		return refusal("city invalid")
	case in.State == "":
		return refusal("state invalid")
	case in.PostCode == "":
		return refusal("post_code invalid")
	case in.Phone == "":
		return refusal("phone invalid")
	}
	for _, image := range in.images() {
		if !validLink(image.link) {
			return refusal(image.field + " invalid")
		}
	}
	return nil
}

// idType is 0 when it is no whole number.
func (in submission) idType() int64 {
	n, err := strconv.ParseInt(string(in.IDType), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

type image struct{ field, link string }

func (in submission) images() []image {
	return []image{{"id_front", string(in.IDFront)}, {"id_back", string(in.IDBack)}, {"selfie", string(in.Selfie)}}
}

// submitKYC takes a self-KYC. Unlike init it is not repeatable: the same client_uid or document again is a
// duplicate.
func (s *Simulator) submitKYC(r *http.Request) answer {
	ctx := r.Context()
	var in submission
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return s.answerFor(ctx, bodyInvalid)
	}
	if err := in.check(s.Clock.Now()); err != nil {
		return s.answerFor(ctx, err)
	}
	if err := checkSubmission(ctx, s.DB, in); err != nil {
		return s.answerFor(ctx, err)
	}
	for _, image := range in.images() {
		if err := s.download(ctx, image.link); err != nil {
			return s.answerFor(ctx, refusal(fmt.Sprintf("%s download failed: %v", image.field, err)))
		}
	}
	var a application
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		// Again, since another call may have been faster.
		if err := checkSubmission(ctx, tx, in); err != nil {
			return err
		}
		now := s.Clock.Now()
		a = application{
			kind: self, agentUID: string(in.ClientUID), birthDate: string(in.BirthDate),
			idType: in.idType(), idNumber: string(in.IDNumber),
			status: StatusOpen, remark: documentsReceived, approveAt: s.approvalDue(now), created: now, updated: now,
		}
		in.applyTo(&a)
		var err error
		a.id, err = insertApplication(ctx, tx, a)
		return err
	})
	if err != nil {
		return s.answerFor(ctx, err)
	}
	return succeed(s.wireKYC(a))
}

func checkSubmission(ctx context.Context, q querier, in submission) error {
	if err := checkEmail(ctx, q, string(in.Email)); err != nil {
		return err
	}
	var idUsed, uidUsed bool
	err := q.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pokepay_kycs WHERE id_number = $1 AND status NOT IN ($2, $3)),
		EXISTS (SELECT 1 FROM pokepay_kycs WHERE agent_uid = $4)`,
		string(in.IDNumber), StatusFailed, StatusMismatch, string(in.ClientUID)).Scan(&idUsed, &uidUsed)
	switch {
	case err != nil:
		return err
	case idUsed:
		return idNumberUsed
	case uidUsed:
		return agentUIDUsed
	}
	return nil
}

const imageLimit = 20 << 20

// download fetches an image as the issuer does, at once; its links live for hours only.
func (s *Simulator) download(ctx context.Context, link string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return errors.New("bad link")
	}
	resp, err := s.outgoing.Do(req)
	if err != nil {
		s.Log.InfoContext(ctx, "simulated pokepay: image not fetched", "error", withoutURL(err))
		return errors.New("no answer")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	switch n, err := io.Copy(io.Discard, io.LimitReader(resp.Body, imageLimit+1)); {
	case err != nil:
		return errors.New("broken off")
	case n == 0:
		return errors.New("empty")
	case n > imageLimit:
		return errors.New("too large")
	}
	return nil
}

// getKYC answers GET /api/v1/kyc/{id}.
func (s *Simulator) getKYC(r *http.Request) answer {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id <= 0 {
		return refuse(codeRefused, "id invalid")
	}
	a, err := findApplication(r.Context(), s.DB, filter{id: id})
	if err != nil {
		return s.answerFor(r.Context(), err)
	}
	return succeed(s.wireKYC(a))
}

const (
	defaultPage  = 10
	apiPageLimit = 100
	webPageLimit = 1000 // provider/pokepay.md 3.3

	largestNumber = 1_000_000_000_000 // in a query: beyond any page or time, and safe to multiply
)

// listKYC answers GET /api/v1/kyc and GET /web/kyc, the newest first.
func (s *Simulator) listKYC(r *http.Request) answer {
	ctx, query := r.Context(), r.URL.Query()
	number := func(name string, fallback int64) (int64, error) {
		text := query.Get(name)
		if text == "" {
			return fallback, nil
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || n > largestNumber {
			return 0, refusal(name + " invalid")
		}
		return n, nil
	}
	values := map[string]int64{"page": 1, "limit": defaultPage, "status": 0, "start_time": 0, "end_time": 0}
	for name, fallback := range values {
		n, err := number(name, fallback)
		if err != nil {
			return s.answerFor(ctx, err)
		}
		values[name] = n
	}
	most := int64(apiPageLimit)
	if strings.HasPrefix(r.URL.Path, "/web/") {
		most = webPageLimit
	}
	limit := min(max(values["limit"], 1), most)
	page := max(values["page"], 1)

	reference := query.Get("agent_uid")
	if s.HideReferences {
		reference = ""
	}
	f := filter{email: query.Get("email"), agentUID: reference, status: int(values["status"]),
		createdFrom: values["start_time"], createdTo: values["end_time"]}
	total, err := countApplications(ctx, s.DB, f)
	if err != nil {
		return s.failed(ctx, err)
	}
	found, err := applications(ctx, s.DB, f, int(limit), int((page-1)*limit))
	if err != nil {
		return s.failed(ctx, err)
	}
	list := make([]kycObject, 0, len(found))
	for _, a := range found {
		list = append(list, s.wireKYC(a))
	}
	return succeed(struct {
		Total int64       `json:"total"`
		List  []kycObject `json:"list"`
	}{total, list})
}

// kycObject is a KYC on the wire (provider/pokepay.md 3.3). card_type and card_number are those of the
// identity document. That the agent's own reference is shown is a guess; both its names are given.
type kycObject struct {
	ID                   int64  `json:"id"`
	AgentUID             string `json:"agent_uid,omitempty"`
	ClientUID            string `json:"client_uid,omitempty"`
	CreatedTime          int64  `json:"created_time"` // unix seconds, as the other two
	UpdatedTime          int64  `json:"updated_time"`
	DeletedTime          int64  `json:"deleted_time"`
	FirstName            string `json:"first_name"`
	LastName             string `json:"last_name"`
	FirstNameEn          string `json:"first_name_en"`
	LastNameEn           string `json:"last_name_en"`
	Birthday             string `json:"birthday"`
	CountryID            int    `json:"country_id"`
	CountryCode          string `json:"country_code"`
	CardType             int64  `json:"card_type"`
	CardNumber           string `json:"card_number"`
	Status               int    `json:"status"`
	AreaCode             string `json:"area_code"`
	Phone                string `json:"phone"`
	Email                string `json:"email"`
	Reason               string `json:"reason"`
	Remark               string `json:"remark"`
	HoldCardNum          int    `json:"hold_card_num"`
	HoldCancelledCardNum int    `json:"hold_cancelled_card_num"`
	BillCountryID        int    `json:"bill_country_id"`
	BillCountryCode      string `json:"bill_country_code"`
	State                string `json:"state"`
	City                 string `json:"city"`
	Address              string `json:"address"`
	PostCode             string `json:"post_code"`
}

func (s *Simulator) wireKYC(a application) kycObject {
	country := countryID(a.billCountryCode)
	reference := a.agentUID
	if s.HideReferences {
		reference = ""
	}
	return kycObject{
		ID: a.id, AgentUID: reference, ClientUID: reference,
		CreatedTime: a.created.Unix(), UpdatedTime: a.updated.Unix(),
		FirstName: a.firstEnName, LastName: a.lastEnName, FirstNameEn: a.firstEnName, LastNameEn: a.lastEnName,
		Birthday: a.birthDate, CountryID: country, CountryCode: a.billCountryCode,
		CardType: a.idType, CardNumber: a.idNumber,
		Status: a.status, AreaCode: a.areaCode, Phone: a.phone, Email: a.email, Reason: a.reason, Remark: a.remark,
		BillCountryID: country, BillCountryCode: a.billCountryCode,
		State: a.state, City: a.city, Address: a.address, PostCode: a.postCode,
	}
}

// countryID is a stable made-up number for a two-letter country; the issuer's own table is not known.
func countryID(code string) int {
	if !countryCode.MatchString(code) {
		return 0
	}
	return int(code[0]-'A')*26 + int(code[1]-'A') + 1
}
