package pokepay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

// Codes of the envelope. Only 200 and 401 are known of the issuer; the others are ours and carry no
// promise: clients go by the text (provider/pokepay.md 2).
const (
	codeOK           = 200
	codeRefused      = 400
	codeUnauthorised = 401
	codeNotFound     = 404
	codeFailed       = 500
)

const insufficientAuthority = "Insufficient authority"

// answer is what an operation has to say; it travels in the envelope.
type answer struct {
	code   int
	data   any
	errstr string
}

func succeed(data any) answer               { return answer{code: codeOK, data: data, errstr: "SUCCESS"} }
func refuse(code int, errstr string) answer { return answer{code: code, errstr: errstr} }
func unauthorised() answer                  { return refuse(codeUnauthorised, insufficientAuthority) }
func (s *Simulator) failed(ctx context.Context, err error) answer {
	s.Log.ErrorContext(ctx, "simulated pokepay", "error", err)
	return refuse(codeFailed, "system error")
}

// refusal is a business error on its way out of a transaction.
type refusal string

func (r refusal) Error() string { return string(r) }

// answerFor turns an operation's error into its answer.
func (s *Simulator) answerFor(ctx context.Context, err error) answer {
	var r refusal
	switch {
	case errors.As(err, &r):
		return refuse(codeRefused, string(r))
	case errors.Is(err, ErrUnknownKYC):
		return refuse(codeNotFound, "kyc not found")
	default:
		return s.failed(ctx, err)
	}
}

// Handler serves the issuer's paths relative to its prefix, /web/… and /api/v1/…, and the desk.
func (s *Simulator) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /web/auth/login", s.operation(opLogin, s.login))
	// The endpoint of the application credentials is unknown (provider/pokepay.md 1); this path is our guess.
	mux.Handle("POST /api/v1/auth/token", s.operation(opLogin, s.login))
	mux.Handle("POST /api/v1/kyc/didit/init", s.operation(opKYCInit, s.initKYC))
	mux.Handle("POST /api/v1/kyc", s.operation(opKYCSubmit, s.submitKYC))
	mux.Handle("GET /api/v1/kyc", s.operation(opKYCList, s.listKYC))
	mux.Handle("GET /web/kyc", s.operation(opKYCList, s.listKYC))
	mux.Handle("GET /api/v1/kyc/{id}", s.operation(opKYCGet, s.getKYC))
	mux.Handle("GET /api/v1/system/currencySimple", s.operation(opRate, s.simpleRate))
	mux.HandleFunc("GET /desk", s.showDesk)
	// The desk decides about people: another website open in the same browser must not press its buttons.
	mux.Handle("POST /desk", http.NewCrossOriginProtection().Handler(http.HandlerFunc(s.decideAtDesk)))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, envelope(refuse(codeNotFound, "not found"), false, false))
	})
	return mux
}

const (
	bodyLimit  = 1 << 20
	holdAtMost = 60 * time.Second // of act_then_timeout
	badGateway = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)

// operation wraps one call of the protocol with the token check, the envelope and the faults aimed at it.
func (s *Simulator) operation(at *fault.Point, do func(r *http.Request) answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gone := r.Context().Done()
		// A server does not notice that its caller has left: what was asked is done all the same.
		r = r.WithContext(context.WithoutCancel(r.Context()))
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
		if err != nil {
			write(w, http.StatusOK, envelope(refuse(codeRefused, "invalid request body"), false, false))
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))

		if rule, hit := s.Faults.Strike(at, fault.Delay); hit {
			s.pause(rule.Delay(), nil)
		}
		if rule, hit := s.Faults.Strike(at, fault.HTTP500, fault.HTML502); hit {
			if rule.Kind == fault.HTML502 {
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(http.StatusBadGateway)
				_, _ = io.WriteString(w, badGateway)
				return
			}
			write(w, http.StatusInternalServerError, envelope(refuse(codeFailed, "system error"), false, false))
			return
		}
		result := s.perform(at, do, r)
		if _, hit := s.Faults.Strike(at, fault.ActThenTimeout); hit {
			s.pause(holdAtMost, gone)
			panic(http.ErrAbortHandler) // the caller sees a broken connection and no answer
		}
		_, oddNumbers := s.Faults.Strike(at, fault.OddNumbers)
		_, noRequestID := s.Faults.Strike(at, fault.NoRequestID)
		write(w, http.StatusOK, envelope(result, oddNumbers, noRequestID))
	})
}

func (s *Simulator) perform(at *fault.Point, do func(r *http.Request) answer, r *http.Request) answer {
	if at != opLogin {
		allowed, err := s.authorised(r)
		switch {
		case err != nil:
			return s.failed(r.Context(), err)
		case !allowed:
			return unauthorised()
		}
		if _, hit := s.Faults.Strike(at, fault.ExpiredToken); hit {
			return unauthorised()
		}
	}
	if rule, hit := s.Faults.Strike(at, fault.RefuseInit); hit {
		return refuse(codeRefused, rule.Message)
	}
	return do(r)
}

// pause waits for d, until the caller has gone or until the simulator stops.
func (s *Simulator) pause(d time.Duration, gone <-chan struct{}) {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-gone:
	case <-s.stopped:
	}
}

// envelope builds the outer object of every answer (provider/pokepay.md 2).
func envelope(a answer, oddNumbers, noRequestID bool) any {
	out := struct {
		Code      any    `json:"code"`
		Data      any    `json:"data"`
		Errstr    string `json:"errstr"`
		RequestID string `json:"request_id"`
	}{Code: a.code, Data: a.data, Errstr: a.errstr, RequestID: "req_" + strings.ReplaceAll(uuid.NewString(), "-", "")}
	if noRequestID {
		out.RequestID = ""
	}
	if oddNumbers {
		out.Code, out.Data = scramble(out.Code), scramble(out.Data)
	}
	return out
}

// scramble returns a JSON value with each number as an integer, a float or a text, at random.
func scramble(v any) any {
	raw, err := json.Marshal(v)
	if err != nil {
		return v // write will report it
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return v
	}
	return scrambleNumbers(tree)
}

func scrambleNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			v[key] = scrambleNumbers(item)
		}
	case []any:
		for i, item := range v {
			v[i] = scrambleNumbers(item)
		}
	case json.Number:
		switch rand.IntN(3) {
		case 0:
			return v.String()
		case 1:
			return json.RawMessage(v.String() + ".0") // all numbers of our objects are integers
		}
	}
	return v
}

func write(w http.ResponseWriter, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err) // only our own types come here
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}
