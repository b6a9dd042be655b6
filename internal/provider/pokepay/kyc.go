package pokepay

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/provider"
)

// KYCStatus is the issuer's verdict on a cardholder (provider/pokepay.md section 3.4). Other numbers are kept
// as they came and decide nothing.
type KYCStatus int

// The verdicts.
const (
	KYCPending      KYCStatus = 1 // not reviewed, or the user left the verification page
	KYCApproved     KYCStatus = 2
	KYCFailed       KYCStatus = 3 // the reason says why; may try again
	KYCMismatch     KYCStatus = 4 // name or birth date differ from the document
	KYCManualReview KYCStatus = 5
	KYCDuplicate    KYCStatus = 6 // the document's number is known already
)

// Known tells whether the verdict is one of the constants.
func (s KYCStatus) Known() bool { return s >= KYCPending && s <= KYCDuplicate }

// Final tells whether PokePay has decided. Even then the verdict may change: an approval can be revoked.
func (s KYCStatus) Final() bool { return s.Known() && s != KYCPending && s != KYCManualReview }

// MaxCardsPerKYC is how many cards one cardholder may hold (provider/pokepay.md section 3.4).
const MaxCardsPerKYC = 5

// KYC is PokePay's record of a cardholder. It holds personal data: do not log it.
type KYC struct {
	ID                 int64
	AgentUID           string // ours; empty where PokePay does not show it
	Status             KYCStatus
	Reason             string // free text in the operator's language
	Remark             string
	FirstName          string
	LastName           string
	FirstNameEN        string // what was sent as first_en_name
	LastNameEN         string
	Birthday           string
	Email              string
	AreaCode           string
	Phone              string
	CountryID          int64
	CountryCode        string
	DocumentType       int64  // of the identity document; "card_type" on the wire
	DocumentNumber     string // of the identity document, not of a card; "card_number" on the wire
	BillCountryID      int64
	BillCountryCode    string
	State, City        string
	Address, PostCode  string
	HeldCards          int64 // hold_card_num, at most MaxCardsPerKYC
	HeldCancelledCards int64
	CreatedAt          time.Time
	UpdatedAt          time.Time
	DeletedAt          time.Time // zero for a record that exists
}

// ParseKYC reads a KYC object. The only error is provider.ErrNotObject: what cannot be read inside is left
// out, and a missing status reads as 0, which is not known and approves nothing.
func ParseKYC(raw []byte) (KYC, error) {
	o, err := provider.ParseObject(raw)
	if err != nil {
		return KYC{}, err
	}
	number := func(key string) int64 { n, _ := o.Int(key); return n }
	when := func(key string) time.Time { t, _ := ParseTime(o.Text(key)); return t }
	k := KYC{
		ID: number("id"), AgentUID: o.Text("agent_uid", "client_uid"), Reason: o.Text("reason"), Remark: o.Text("remark"),
		FirstName: o.Text("first_name"), LastName: o.Text("last_name"),
		FirstNameEN: o.Text("first_name_en", "first_en_name"), LastNameEN: o.Text("last_name_en", "last_en_name"),
		Birthday: o.Text("birthday"), Email: o.Text("email"), AreaCode: o.Text("area_code"), Phone: o.Text("phone"),
		CountryID: number("country_id"), CountryCode: o.Text("country_code"),
		DocumentType: number("card_type"), DocumentNumber: o.Text("card_number"),
		BillCountryID: number("bill_country_id"), BillCountryCode: o.Text("bill_country_code"),
		State: o.Text("state"), City: o.Text("city"), Address: o.Text("address"), PostCode: o.Text("post_code"),
		HeldCards: number("hold_card_num"), HeldCancelledCards: number("hold_cancelled_card_num"),
		CreatedAt: when("created_time"), UpdatedAt: when("updated_time"), DeletedAt: when("deleted_time"),
	}
	if status := number("status"); status >= 0 && status < 1<<16 {
		k.Status = KYCStatus(status)
	}
	return k, nil
}

// HostedKYC asks for a verification in PokePay's own Didit account (provider/pokepay.md section 3.1).
type HostedKYC struct {
	AgentUID        string `json:"agent_uid"`     // our id of this attempt, unique
	Email           string `json:"email"`         // unique over the cardholders of all agents
	FirstNameEN     string `json:"first_en_name"` // Latin letters; embossed on the card, never corrected
	LastNameEN      string `json:"last_en_name"`
	AreaCode        string `json:"area_code"` // digits, without plus
	Phone           string `json:"phone"`     // national number
	Address         string `json:"address"`
	City            string `json:"city"`
	State           string `json:"state"`
	PostCode        string `json:"post_code"`
	BillCountryCode string `json:"bill_country_code"` // ISO 3166 alpha-2
	ReturnURL       string `json:"return_url"`        // where the browser returns
}

// HostedSession is where the user goes.
type HostedSession struct {
	SessionID string // of PokePay's Didit account: we cannot read it there
	URL       string
}

// InitKYC opens a hosted verification. Every call is billed, so it is never repeated by itself.
//
// Errors, all *provider.Error: Refused, with ReasonOf telling a used e-mail address or an invalid name;
// Unknown.
func (c *Client) InitKYC(ctx context.Context, kyc HostedKYC) (HostedSession, error) {
	if kyc.AgentUID == "" || kyc.Email == "" {
		return HostedSession{}, invalid(OpKYCInit, "agent uid or e-mail address is missing")
	}
	data, err := c.call(ctx, OpKYCInit, request{body: kyc})
	if err != nil {
		return HostedSession{}, err
	}
	o, err := provider.ParseObject(data)
	if err != nil {
		return HostedSession{}, unreadable(OpKYCInit, err)
	}
	session := HostedSession{SessionID: o.Text("session_id"), URL: o.Text("url", "session_url")}
	if u, err := url.Parse(session.URL); session.SessionID == "" || err != nil || !u.IsAbs() {
		return HostedSession{}, unreadable(OpKYCInit, errors.New("no session id or no link"))
	}
	return session, nil
}

// IDType is the kind of an identity document (provider/pokepay.md section 3.2).
type IDType int

// The kinds.
const (
	IDCard          IDType = 1 // also residence permits
	IDDriverLicence IDType = 7
	IDPassport      IDType = 12
)

// SelfKYC hands over a verification that we made ourselves (provider/pokepay.md section 3.2). PokePay must
// have enabled this for us.
type SelfKYC struct {
	ClientUID       string `json:"client_uid"` // our id of this attempt, unique
	Email           string `json:"email"`      // unique over the cardholders of all agents
	FirstNameEN     string `json:"first_en_name"`
	LastNameEN      string `json:"last_en_name"`
	BirthDate       string `json:"birth_date"` // YYYY-MM-DD
	IDType          IDType `json:"id_type"`
	IDNumber        string `json:"id_number"` // unique over the cardholders of all agents
	IDFront         string `json:"id_front"`  // PokePay fetches the images at once, while the call runs
	IDBack          string `json:"id_back"`   // of a passport: the front again, filled in if empty
	Selfie          string `json:"selfie"`
	Address         string `json:"address"` // at least 5 characters
	City            string `json:"city"`    // at least 2 characters
	State           string `json:"state"`
	PostCode        string `json:"post_code"`
	BillCountryCode string `json:"bill_country_code"` // ISO 3166 alpha-2
	AreaCode        string `json:"area_code"`         // digits, without plus
	Phone           string `json:"phone"`
}

// SubmitKYC submits a cardholder. It is never repeated by itself; an unknown outcome is looked up by the
// client uid or the e-mail address (FindKYC).
//
// Errors, all *provider.Error: Refused, with ReasonOf telling a used e-mail address or document, or an invalid
// name; Unknown.
func (c *Client) SubmitKYC(ctx context.Context, kyc SelfKYC) (KYC, error) {
	if kyc.ClientUID == "" || kyc.Email == "" || kyc.IDNumber == "" {
		return KYC{}, invalid(OpKYCSubmit, "client uid, e-mail address or document number is missing")
	}
	if kyc.IDType == IDPassport && kyc.IDBack == "" {
		kyc.IDBack = kyc.IDFront
	}
	data, err := c.call(ctx, OpKYCSubmit, request{body: kyc})
	if err != nil {
		return KYC{}, err
	}
	return identified(OpKYCSubmit, data)
}

// GetKYC reads a cardholder by PokePay's id. A cardholder that does not exist is an error with
// ReasonNotFound.
func (c *Client) GetKYC(ctx context.Context, id int64) (KYC, error) {
	if id <= 0 {
		return KYC{}, invalid(OpKYCGet, "id must be positive")
	}
	data, err := c.call(ctx, OpKYCGet, request{params: map[string]string{"id": strconv.FormatInt(id, 10)}})
	if err != nil {
		return KYC{}, err
	}
	if data == nil {
		return KYC{}, &provider.Error{Provider: ProviderName, Operation: OpKYCGet, Outcome: provider.Refused, Sent: true, Status: 200,
			Code: codeOK, Detail: "no such cardholder", Cause: &Refusal{Code: codeOK, Reason: ReasonNotFound}}
	}
	kyc, err := identified(OpKYCGet, data)
	if err == nil && kyc.ID != id {
		return KYC{}, unreadable(OpKYCGet, errors.New("another cardholder"))
	}
	return kyc, err
}

// identified reads a KYC object that must have an id.
func identified(operation string, data json.RawMessage) (KYC, error) {
	kyc, err := ParseKYC(data)
	if err == nil && kyc.ID <= 0 {
		err = errors.New("no id")
	}
	if err != nil {
		return KYC{}, unreadable(operation, err)
	}
	return kyc, nil
}

// KYCFilter narrows ListKYC. Empty fields do not.
type KYCFilter struct {
	Page     int    // from 1; default 1
	Limit    int    // default 20
	Email    string // exact
	AgentUID string // the parameter's name is a guess that PokePay may ignore: check what comes back
	Status   KYCStatus
}

// KYCPage is one page of cardholders.
type KYCPage struct {
	Total int64
	List  []KYC
}

// ListKYC lists cardholders.
func (c *Client) ListKYC(ctx context.Context, filter KYCFilter) (KYCPage, error) {
	query := url.Values{"page": {strconv.Itoa(max(filter.Page, 1))}, "limit": {"20"}}
	if filter.Limit > 0 {
		query.Set("limit", strconv.Itoa(filter.Limit))
	}
	if filter.Email != "" {
		query.Set("email", filter.Email)
	}
	if filter.AgentUID != "" {
		query.Set(c.agentUIDParam, filter.AgentUID)
	}
	if filter.Status != 0 {
		query.Set("status", strconv.Itoa(int(filter.Status)))
	}
	data, err := c.call(ctx, OpKYCList, request{query: query})
	if err != nil {
		return KYCPage{}, err
	}
	page, err := parseKYCPage(data)
	if err != nil {
		return KYCPage{}, unreadable(OpKYCList, err)
	}
	return page, nil
}

// parseKYCPage reads {total, list}, a bare list, or null as an empty page.
func parseKYCPage(data json.RawMessage) (KYCPage, error) {
	if data == nil {
		return KYCPage{}, nil
	}
	o, err := provider.ParseObject(data)
	if err != nil {
		var list []json.RawMessage
		if json.Unmarshal(data, &list) != nil {
			return KYCPage{}, errors.New("neither a page nor a list")
		}
		o = provider.Object{"list": data, "total": json.RawMessage(strconv.Itoa(len(list)))}
	}
	var page KYCPage
	page.Total, _ = o.Int("total")
	if !o.Has("list") {
		return page, nil
	}
	var rows []json.RawMessage
	if err := json.Unmarshal(o["list"], &rows); err != nil {
		return KYCPage{}, errors.New("the list is not a list")
	}
	for _, row := range rows {
		kyc, err := ParseKYC(row)
		if err == nil && kyc.ID > 0 {
			page.List = append(page.List, kyc) // one broken row must not hide the others
		}
	}
	if len(rows) > 0 && len(page.List) == 0 {
		return KYCPage{}, errors.New("no row is a cardholder")
	}
	return page, nil
}

// KYCLookup is what is known of a cardholder whose PokePay id is not.
type KYCLookup struct {
	AgentUID string // required
	Email    string // the one sent with it; without it there is no fallback

	// Begun is when the attempt began. It keeps the fallback from finding the record of an earlier attempt: records
	// without an agent_uid that were neither made nor changed since are passed over, with a minute for clocks that
	// differ. Zero: any age.
	Begun time.Time

	// Earlier are the ids of records that belonged to the person's earlier attempts. PokePay may use one again; it
	// counts only if it was changed since Begun, to the second.
	Earlier []int64
}

func (l KYCLookup) fits(k KYC) bool {
	if k.AgentUID != "" || !strings.EqualFold(k.Email, l.Email) {
		return false
	}
	if slices.Contains(l.Earlier, k.ID) {
		return !k.UpdatedAt.Before(l.Begun)
	}
	since := l.Begun.Add(-time.Minute)
	return !k.CreatedAt.Before(since) || !k.UpdatedAt.Before(since)
}

// FindKYC finds a cardholder by our agent_uid, and tells whether there is one.
//
// PokePay may ignore the parameter and answer with everybody, and may leave agent_uid out of its objects
// (provider/pokepay.md section 3.3). So a record counts at once only if it shows the agent_uid. Otherwise the
// list of the e-mail address is read, and the newest record there counts that shows the agent_uid or shows
// none.
func (c *Client) FindKYC(ctx context.Context, lookup KYCLookup) (KYC, bool, error) {
	if lookup.AgentUID == "" {
		return KYC{}, false, invalid(OpKYCList, "agent uid is missing")
	}
	page, err := c.ListKYC(ctx, KYCFilter{AgentUID: lookup.AgentUID})
	if err != nil {
		return KYC{}, false, err
	}
	if found, ok := newest(page.List, func(k KYC) bool { return k.AgentUID == lookup.AgentUID }); ok {
		return found, true, nil
	}
	if lookup.Email == "" {
		return KYC{}, false, nil
	}
	if page, err = c.ListKYC(ctx, KYCFilter{Email: lookup.Email}); err != nil {
		return KYC{}, false, err
	}
	if found, ok := newest(page.List, func(k KYC) bool { return k.AgentUID == lookup.AgentUID }); ok {
		return found, true, nil
	}
	found, ok := newest(page.List, lookup.fits)
	return found, ok, nil
}

// newest is the last-made record that is not deleted and fits.
func newest(list []KYC, fits func(KYC) bool) (KYC, bool) {
	var best KYC
	for _, k := range list {
		if k.DeletedAt.IsZero() && fits(k) && (best.ID == 0 || k.CreatedAt.After(best.CreatedAt) ||
			k.CreatedAt.Equal(best.CreatedAt) && k.ID > best.ID) {
			best = k
		}
	}
	return best, best.ID != 0
}
