package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/sandbox/didit"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
	"github.com/comecomepay/comecomepay/internal/sandbox/pokepay"
	"github.com/comecomepay/comecomepay/internal/sandbox/udun"
)

const controlBodyLimit = 64 << 10

// refusal is an answer 4xx of the control interface.
type refusal struct {
	status int
	text   string
}

func (r refusal) Error() string { return r.text }

func invalid(format string, args ...any) error {
	return refusal{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// call is one operation of the control interface: its answer is written as JSON.
type call func(r *http.Request) (any, error)

// controlHandler serves the control interface, for scripts and for the pages of this listener:
//
//	GET, DELETE        /control/inbox       the mail, see package inbox
//	POST               /control/kyc         the issuer's or Didit's verdict
//	POST               /control/deposit     money arrives at the gateway, or gets confirmations
//	POST               /control/withdrawal  what becomes of a withdrawal
//	POST               /control/resend      a trade's callback once more
//	POST               /control/rate        what a currency costs at the issuer
//	POST               /control/operator    an operator of the product decides about a withdrawal, see Office
//	POST               /control/audit       the product's ledger, and what the gateway holds
//	GET, POST, DELETE  /control/faults      faults to inject
//	GET, POST          /control/clock       the sandbox's time
//	GET                /control/state       what the simulators believe
//
// Errors are {"error": <text>} with a 4xx. Requests of pages of other origins are refused.
func (s *Server) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/control/inbox", s.inbox.ControlHandler())
	for path, calls := range map[string]map[string]call{
		"/control/kyc":        {http.MethodPost: s.decideKYC},
		"/control/deposit":    {http.MethodPost: s.deposit},
		"/control/withdrawal": {http.MethodPost: s.decideWithdrawal},
		"/control/resend":     {http.MethodPost: s.resend},
		"/control/rate":       {http.MethodPost: s.setRate},
		"/control/operator":   {http.MethodPost: s.operate},
		"/control/audit":      {http.MethodPost: s.audit},
		"/control/faults":     {http.MethodGet: s.listFaults, http.MethodPost: s.addFault, http.MethodDelete: s.clearFaults},
		"/control/clock":      {http.MethodGet: s.showClock, http.MethodPost: s.moveClock},
		"/control/state":      {http.MethodGet: s.showState},
	} {
		mux.Handle(path, s.resource(calls))
	}
	mux.HandleFunc("/control/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "no such path: there are /control/inbox, kyc, deposit, withdrawal, resend, rate, operator, audit, faults, clock and state")
	})
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusForbidden, "pages of other origins may not control the sandbox")
	}))
	return protection.Handler(mux)
}

// resource serves the calls of one path by their methods.
func (s *Server) resource(calls map[string]call) http.Handler {
	var methods []string
	for m := range calls {
		methods = append(methods, m)
	}
	slices.Sort(methods)
	allow := strings.Join(methods, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		do, ok := calls[method]
		if !ok {
			w.Header().Set("Allow", allow)
			refuse(w, http.StatusMethodNotAllowed, "use "+allow)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, controlBodyLimit)
		body, err := do(r)
		var no refusal
		switch {
		case errors.As(err, &no):
			refuse(w, no.status, no.text)
		case err != nil:
			s.log.ErrorContext(r.Context(), "sandbox control", "path", r.URL.Path, "error", err)
			refuse(w, http.StatusInternalServerError, "the sandbox failed; its log says why")
		default:
			s.write(w, body)
		}
	})
}

func (s *Server) write(w http.ResponseWriter, body any) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // people read it with curl
	if err := encoder.Encode(body); err != nil {
		s.log.Error("sandbox control", "error", err)
		refuse(w, http.StatusInternalServerError, "the answer could not be written")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(b.Bytes())
}

// read decodes a body that must be one JSON object with no field that we do not know: a misspelt one would be left out
// in silence.
func read(r *http.Request, into any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			return invalid("the body must be one JSON object")
		}
		return nil
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return refusal{http.StatusRequestEntityTooLarge, "the body is too large"}
	}
	if errors.Is(err, io.EOF) {
		return invalid("the body must be a JSON object")
	}
	return invalid("the body cannot be read: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// done is the answer of calls that have nothing to tell.
type done struct{}

// verdict is the body of POST /control/kyc: the issuer's {agent_uid | session_id | email, pokepay_status, reason}, or Didit's
// {session_id, didit_status, risk}.
type verdict struct {
	AgentUID      string `json:"agent_uid"`
	SessionID     string `json:"session_id"`
	Email         string `json:"email"`
	PokePayStatus *int   `json:"pokepay_status"`
	Reason        string `json:"reason"`
	DiditStatus   string `json:"didit_status"`
	Risk          string `json:"risk"`
}

func (s *Server) decideKYC(r *http.Request) (any, error) {
	var v verdict
	if err := read(r, &v); err != nil {
		return nil, err
	}
	switch {
	case (v.PokePayStatus == nil) == (v.DiditStatus == ""):
		return nil, invalid("give either pokepay_status (1 to 6) or didit_status")
	case v.PokePayStatus != nil:
		return s.decideAsIssuer(r, v)
	}
	return s.decideAsDidit(r, v)
}

func (s *Server) decideAsIssuer(r *http.Request, v verdict) (any, error) {
	if v.Risk != "" {
		return nil, invalid("risk belongs to didit_status")
	}
	key := pokepay.Key{AgentUID: v.AgentUID, SessionID: v.SessionID, Email: v.Email}
	if key == (pokepay.Key{}) {
		return nil, invalid("say whom: agent_uid, session_id or email")
	}
	err := s.pokepay.Decide(r.Context(), key, *v.PokePayStatus, v.Reason)
	switch {
	case errors.Is(err, pokepay.ErrBadStatus):
		return nil, invalid("pokepay_status must be from 1 to 6")
	case errors.Is(err, pokepay.ErrUnknownKYC):
		return nil, refusal{http.StatusNotFound, "the issuer knows no such verification"}
	}
	return done{}, err
}

func (s *Server) decideAsDidit(r *http.Request, v verdict) (any, error) {
	if v.AgentUID != "" || v.Email != "" || v.SessionID == "" {
		return nil, invalid("didit_status needs session_id, and nothing else to find the session by")
	}
	if v.Reason != "" {
		return nil, invalid("reason belongs to pokepay_status; Didit gives a risk")
	}
	err := s.didit.SetStatus(r.Context(), v.SessionID, v.DiditStatus, v.Risk)
	switch {
	case errors.Is(err, didit.ErrUnknownStatus):
		return nil, invalid("didit_status is no status of Didit's")
	case errors.Is(err, didit.ErrUnknownRisk):
		return nil, invalid("risk is no risk code of Didit's")
	case errors.Is(err, didit.ErrNotFound):
		return nil, refusal{http.StatusNotFound, "Didit knows no such session"}
	}
	return done{}, err
}

// deposit takes the body of POST /control/deposit: a new deposit, or {trade_id, confirmations} for one that waits.
func (s *Server) deposit(r *http.Request) (any, error) {
	var in struct {
		TradeID string `json:"trade_id"`
		udun.Deposit
	}
	if err := read(r, &in); err != nil {
		return nil, err
	}
	if in.TradeID == "" {
		trade, err := s.udun.Deposit(r.Context(), in.Deposit)
		return trade, ofGateway(err)
	}
	if in.Address != "" || in.Coin != "" || in.Amount != "" {
		return nil, invalid("trade_id adds confirmations to a deposit that is there; leave out address, coin and amount")
	}
	trade, err := s.udun.Confirm(r.Context(), in.TradeID, in.Confirmations)
	return trade, ofGateway(err)
}

// decideWithdrawal takes the body of POST /control/withdrawal.
func (s *Server) decideWithdrawal(r *http.Request) (any, error) {
	var in struct {
		BusinessID string `json:"business_id"`
		Outcome    string `json:"outcome"`
		udun.Telling
	}
	if err := read(r, &in); err != nil {
		return nil, err
	}
	trade, err := s.udun.Decide(r.Context(), udun.Key{BusinessID: in.BusinessID}, in.Outcome, in.Telling)
	return trade, ofGateway(err)
}

// resend takes the body of POST /control/resend.
func (s *Server) resend(r *http.Request) (any, error) {
	var in struct {
		TradeID    string `json:"trade_id"`
		BusinessID string `json:"business_id"`
	}
	if err := read(r, &in); err != nil {
		return nil, err
	}
	trade, err := s.udun.Resend(r.Context(), udun.Key{TradeID: in.TradeID, BusinessID: in.BusinessID})
	return trade, ofGateway(err)
}

// ofGateway turns the gateway's errors into answers.
func ofGateway(err error) error {
	switch {
	case errors.Is(err, udun.ErrUnknownTrade), errors.Is(err, udun.ErrUnknownAddress):
		return refusal{http.StatusNotFound, "the gateway knows " + err.Error()}
	case errors.Is(err, udun.ErrDecided):
		return refusal{http.StatusConflict, err.Error()}
	case errors.Is(err, udun.ErrBadOutcome), errors.Is(err, udun.ErrBadDeposit), errors.Is(err, udun.ErrBadTelling):
		return invalid("%s", err)
	}
	return err
}

// setRate takes the body of POST /control/rate: what one unit of src costs in dst.
func (s *Server) setRate(r *http.Request) (any, error) {
	var in struct {
		Src  string       `json:"src"`
		Dst  string       `json:"dst"`
		Rate udun.Decimal `json:"rate"`
	}
	if err := read(r, &in); err != nil {
		return nil, err
	}
	err := s.pokepay.SetRate(r.Context(), in.Src, in.Dst, string(in.Rate))
	if errors.Is(err, pokepay.ErrBadRate) {
		return nil, invalid("%s", err)
	}
	return done{}, err
}

func (s *Server) listFaults(*http.Request) (any, error) { return s.faults.Rules(), nil }

func (s *Server) addFault(r *http.Request) (any, error) {
	var in struct {
		Provider    string     `json:"provider"`
		Operation   string     `json:"operation"`
		Kind        fault.Kind `json:"kind"`
		Probability *float64   `json:"probability"`
		DelayMS     int        `json:"delay_ms"`
		Count       int        `json:"count"`
		Message     string     `json:"message"`
	}
	if err := read(r, &in); err != nil {
		return nil, err
	}
	rule := fault.Rule{Provider: in.Provider, Operation: in.Operation, Kind: in.Kind, DelayMS: in.DelayMS, Count: in.Count, Message: in.Message}
	if in.Probability != nil {
		if *in.Probability == 0 {
			return nil, invalid("probability must be above 0 and at most 1")
		}
		rule.Probability = *in.Probability
	}
	if err := s.faults.Add(rule); err != nil {
		return nil, invalid("%s", err)
	}
	return s.faults.Rules(), nil
}

func (s *Server) clearFaults(*http.Request) (any, error) {
	s.faults.Clear()
	return done{}, nil
}

func (s *Server) showClock(*http.Request) (any, error) { return s.clock.state(), nil }

func (s *Server) moveClock(r *http.Request) (any, error) {
	var in struct {
		Advance string `json:"advance"`
	}
	if err := read(r, &in); err != nil {
		return nil, err
	}
	by, err := time.ParseDuration(in.Advance)
	if err != nil {
		return nil, invalid("advance must be a duration with a unit, such as 72h or 30m")
	}
	err = s.clock.advance(r.Context(), by)
	if errors.Is(err, errNotAhead) || errors.Is(err, errTooFar) {
		return nil, invalid("%s", err)
	}
	return s.clock.state(), err
}

// State is what the simulators believe.
type State struct {
	Now      time.Time            `json:"now"`
	Sessions []didit.SessionState `json:"sessions"` // at Didit, in our account and in the issuer's, newest first
	KYC      []pokepay.KYCState   `json:"kyc"`      // at the issuer, oldest first
	Custody  udun.Custody         `json:"custody"`  // at the crypto gateway
}

func (s *Server) showState(r *http.Request) (any, error) {
	sessions, err := s.didit.Sessions(r.Context())
	if err != nil {
		return nil, err
	}
	kyc, err := s.pokepay.KYCs(r.Context())
	if err != nil {
		return nil, err
	}
	custody, err := s.udun.Custody(r.Context())
	if err != nil {
		return nil, err
	}
	return State{Now: s.clock.Now(), Sessions: sessions, KYC: kyc, Custody: custody}, nil
}
