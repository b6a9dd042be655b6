package sandbox

import (
	"context"
	"net/http"

	"github.com/shopspring/decimal"
)

// Office is what operators do in the product that the sandbox stands beside, for the walk on the home page. The sandbox knows nothing of
// the product: whoever starts both hands it over (OpenOffice). Errors that Refused makes are shown to whoever has asked.
type Office struct {
	// Decide approves or refuses a withdrawal that waits for an operator, and tells the state that it has then.
	Decide func(ctx context.Context, withdrawal int64, approve bool) (state string, err error)
	// Audit verifies the ledger, and compares it with what the crypto gateway holds.
	Audit func(ctx context.Context) (Audit, error)
}

// Audit is how the product's books stand.
type Audit struct {
	Sound        bool      `json:"sound"` // nothing is wrong with the ledger, and no coin differs
	Accounts     int64     `json:"accounts"`
	Transactions int64     `json:"transactions"`
	Postings     int64     `json:"postings"`
	Findings     []string  `json:"findings"` // what is wrong with the ledger
	Coins        []Holding `json:"coins"`
}

// Holding is how much there is of a coin, in whole coins.
type Holding struct {
	Coin       string          `json:"coin"`
	Ledger     decimal.Decimal `json:"ledger"`
	Gateway    decimal.Decimal `json:"gateway"`
	Difference decimal.Decimal `json:"difference"` // beyond what is on its way
}

// Refused is the product's no to an operator, in words for people.
func Refused(text string) error { return refusal{http.StatusConflict, text} }

// OpenOffice lets operators' work be done by the control interface. Until then it is refused.
func (s *Server) OpenOffice(o Office) { s.office.Store(&o) }

var errNoOffice = refusal{http.StatusServiceUnavailable, "the simulators run alone here; the commands are comecomepay withdrawal approve, withdrawal refuse, ledger verify and reconcile"}

// operate takes the body of POST /control/operator.
func (s *Server) operate(r *http.Request) (any, error) {
	var in struct {
		Withdrawal int64  `json:"withdrawal"`
		Decision   string `json:"decision"`
	}
	if err := read(r, &in); err != nil {
		return nil, err
	}
	if in.Withdrawal < 1 || in.Decision != "approve" && in.Decision != "refuse" {
		return nil, invalid("say which withdrawal, by its number, and as decision approve or refuse")
	}
	office := s.office.Load()
	if office == nil {
		return nil, errNoOffice
	}
	state, err := office.Decide(r.Context(), in.Withdrawal, in.Decision == "approve")
	return struct {
		Withdrawal int64  `json:"withdrawal"`
		State      string `json:"state"`
	}{in.Withdrawal, state}, err
}

// audit answers POST /control/audit, whose body is not looked at.
func (s *Server) audit(r *http.Request) (any, error) {
	office := s.office.Load()
	if office == nil {
		return nil, errNoOffice
	}
	return office.Audit(r.Context())
}
