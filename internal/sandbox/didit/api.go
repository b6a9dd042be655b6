package didit

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

const (
	maxBody      = 4 << 20
	heldAnswer   = 60 * time.Second // how long act_then_timeout keeps a caller waiting
	throttleWait = 2 * time.Second  // Retry-After of an injected 429
)

const (
	forbiddenText = "You do not have permission to perform this action."
	notFoundText  = "Not found."
)

// The points of faults: the calls, and webhook for what is sent.
var (
	opCreateSession = callPoint("create_session")
	opDecision      = callPoint("decision")
	opUpdateStatus  = callPoint("update_status")
	opUpdateData    = callPoint("update_data")
	opDeleteSession = callPoint("delete_session")
	opListSessions  = callPoint("list_sessions")
	opListReviews   = callPoint("list_reviews")
	opGeneratePDF   = callPoint("generate_pdf")
	opListWebhooks  = callPoint("list_webhooks")
	opGetWebhook    = callPoint("get_webhook")
	opResendWebhook = callPoint("resend_webhook")
	opWebhook       = fault.Define("didit", "webhook", fault.Delay, fault.DropWebhook, fault.DuplicateWebhook, fault.Reorder, fault.ForgeSignature,
		fault.StaleTimestamp, fault.ISOTimestamp, fault.NullVendorData, fault.MissingDecision)
)

func callPoint(operation string) *fault.Point {
	return fault.Define("didit", operation, fault.Delay, fault.HTTP500, fault.HTML502, fault.RateLimited, fault.Forbidden, fault.ActThenTimeout)
}

// routes builds the handler. The paths are those of provider/didit.md 2.
func (s *Simulator) routes() http.Handler {
	s.api = http.NewServeMux()
	call := func(pattern string, operation *fault.Point, f family, h http.HandlerFunc) {
		s.api.HandleFunc(pattern, s.guard(operation, f, h))
	}
	call("POST /v3/session/{$}", opCreateSession, createFamily, s.createSession)
	call("POST /v2/session/{$}", opCreateSession, createFamily, s.createLegacySession)
	call("GET /v3/session/{id}/decision/{$}", opDecision, decisionFamily, s.getDecision)
	call("GET /v2/session/{id}/decision/{$}", opDecision, decisionFamily, s.getLegacyDecision)
	call("PATCH /v3/session/{id}/update-status/{$}", opUpdateStatus, writeFamily, s.updateStatus)
	call("PATCH /v3/session/{id}/update-data/{$}", opUpdateData, writeFamily, s.updateData)
	call("DELETE /v3/session/{id}/delete/{$}", opDeleteSession, writeFamily, s.deleteSession)
	call("GET /v3/sessions/{$}", opListSessions, readFamily, s.listSessions)
	call("POST /v3/sessions/delete/{$}", opDeleteSession, writeFamily, s.deleteSessions)
	call("GET /v3/sessions/{id}/reviews/{$}", opListReviews, readFamily, s.listReviews)
	call("POST /v3/sessions/{id}/reviews/{$}", opUpdateStatus, writeFamily, s.addReview)
	call("GET /v3/session/{id}/generate-pdf/{$}", opGeneratePDF, pdfFamily, s.generatePDF)
	call("GET /v3/session/{id}/webhooks/{$}", opListWebhooks, readFamily, s.listWebhooks)
	call("GET /v3/session/{id}/webhook/{event}/{$}", opGetWebhook, readFamily, s.getWebhook)
	call("POST /v3/session/{id}/webhook/{event}/resend/{$}", opResendWebhook, writeFamily, s.resendWebhook)

	mux := http.NewServeMux()
	mux.HandleFunc("/v2/", s.serveAPI)
	mux.HandleFunc("/v3/", s.serveAPI)
	mux.HandleFunc("GET /session/{token}", s.showPage)
	mux.HandleFunc("GET /session/{token}/{$}", s.showPage)
	mux.HandleFunc("POST /session/{token}", s.actOnPage)
	mux.HandleFunc("POST /session/{token}/{$}", s.actOnPage)
	mux.HandleFunc("GET /images/{session}/{file}", s.image)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answerDetail(w, http.StatusNotFound, notFoundText)
	})
	return mux
}

// serveAPI applies the rule of the trailing slash (provider/didit.md 1): reading works without it, everything
// else is redirected, and most clients lose the call on the way. The replay call is written without it.
func (s *Simulator) serveAPI(w http.ResponseWriter, r *http.Request) {
	slashed := r
	if !strings.HasSuffix(r.URL.Path, "/") {
		slashed = r.Clone(r.Context())
		slashed.URL.Path += "/"
		slashed.URL.RawPath = ""
	}
	_, pattern := s.api.Handler(slashed)
	if pattern == "" {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete} {
			other := slashed.Clone(r.Context())
			other.Method = method
			if _, known := s.api.Handler(other); known != "" {
				answerDetail(w, http.StatusMethodNotAllowed, `Method "`+r.Method+`" not allowed.`)
				return
			}
		}
		answerDetail(w, http.StatusNotFound, notFoundText)
		return
	}
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	if slashed != r && !reading && !strings.HasSuffix(r.URL.Path, "/resend") {
		target := s.basePath + slashed.URL.EscapedPath()
		if r.URL.RawQuery != "" {
			target += "?" + r.URL.RawQuery
		}
		w.Header().Set("Location", target)
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	s.api.ServeHTTP(w, slashed)
}

// guard checks the key and the limit, injects the faults planned for the operation, and reads the clock before
// the call acts.
func (s *Simulator) guard(operation *fault.Point, f family, act http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("x-api-key")), []byte(s.apiKey)) != 1 {
			answerDetail(w, http.StatusForbidden, forbiddenText)
			return
		}
		if !s.limits.admit(w, f) {
			return
		}
		if rule, hit := s.faults.Strike(operation, fault.Delay); hit && !s.linger(r.Context(), rule.Delay()) {
			panic(http.ErrAbortHandler) // returning would answer 200
		}
		rule, _ := s.faults.Strike(operation, fault.HTTP500, fault.HTML502, fault.RateLimited, fault.Forbidden, fault.ActThenTimeout)
		switch rule.Kind {
		case fault.HTTP500:
			answerDetail(w, http.StatusInternalServerError, "A server error occurred.")
			return
		case fault.HTML502:
			answerBadGateway(w)
			return
		case fault.RateLimited:
			answerThrottled(w, throttleWait)
			return
		case fault.Forbidden:
			answerDetail(w, http.StatusForbidden, forbiddenText)
			return
		}
		if err := s.age(r.Context()); err != nil {
			s.fail(w, r, err)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if rule.Kind != fault.ActThenTimeout {
			act(w, r)
			return
		}
		act(&swallowed{header: http.Header{}}, r.WithContext(context.WithoutCancel(r.Context())))
		s.linger(r.Context(), heldAnswer)
		panic(http.ErrAbortHandler) // cut the connection: the caller must not take silence for an answer
	}
}

// linger waits for d. It reports false when the caller or the simulator went away before that.
func (s *Simulator) linger(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-s.stopped:
	}
	return false
}

// swallowed is an answer that nobody gets.
type swallowed struct{ header http.Header }

func (w *swallowed) Header() http.Header         { return w.header }
func (w *swallowed) Write(b []byte) (int, error) { return len(b), nil }
func (w *swallowed) WriteHeader(int)             {}

func answerBadGateway(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(http.StatusBadGateway)
	_, _ = io.WriteString(w, "<html>\n<head><title>502 Bad Gateway</title></head>\n<body><center><h1>502 Bad Gateway</h1></center></body>\n</html>\n")
}

// answer writes a JSON answer.
func answer(w http.ResponseWriter, status int, v any) {
	body, err := encodeJSON(v, answerStyle)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"detail":"A server error occurred."}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller that went away is no matter of ours
}

func answerDetail(w http.ResponseWriter, status int, detail string) {
	answer(w, status, map[string]any{"detail": detail})
}

// answerInvalid writes the 400 that names a field.
func answerInvalid(w http.ResponseWriter, field, message string) {
	answer(w, http.StatusBadRequest, map[string]any{field: []any{message}})
}

// fail answers an error of the simulator itself.
func (s *Simulator) fail(w http.ResponseWriter, r *http.Request, err error) {
	var refusal *refusal
	switch {
	case errors.As(err, &refusal):
		refusal.answer(w)
	case errors.Is(err, ErrNotFound):
		answerDetail(w, http.StatusNotFound, notFoundText)
	case r.Context().Err() != nil:
		// The caller went away.
	default:
		s.log.ErrorContext(r.Context(), "didit simulator: call failed", "path", r.Pattern, "error", err)
		answerDetail(w, http.StatusInternalServerError, "A server error occurred.")
	}
}

// refusal is an answer that says no, raised inside a transaction.
type refusal struct{ answer func(http.ResponseWriter) }

func (*refusal) Error() string { return "refused" }

func invalid(field, message string) error {
	return &refusal{func(w http.ResponseWriter) { answerInvalid(w, field, message) }}
}

func wrong(detail string) error {
	return &refusal{func(w http.ResponseWriter) { answerDetail(w, http.StatusBadRequest, detail) }}
}

// body reads a JSON object; an empty body is an empty object.
func body(r *http.Request) (map[string]any, error) {
	text, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, &refusal{func(w http.ResponseWriter) {
			answerDetail(w, http.StatusRequestEntityTooLarge, "Request body is too large.")
		}}
	}
	if err != nil {
		return nil, wrong("The request could not be read.")
	}
	if len(text) == 0 {
		return map[string]any{}, nil
	}
	v, err := decodeJSON(text)
	if err != nil {
		return nil, wrong("JSON parse error - " + err.Error())
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, invalid("non_field_errors", "Invalid data. Expected a dictionary.")
	}
	return object, nil
}
