package didit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/text/language"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string

	pageTemplate = template.Must(template.New("page").Parse(pageHTML))

	// No form-action: browsers apply it to the redirect that follows a form as well, and the callback may be
	// anywhere, an app's own scheme included.
	pagePolicy = func() string {
		sum := sha256.Sum256([]byte(pageCSS))
		return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; frame-ancestors 'none'"
	}()

	sameOrigin = http.NewCrossOriginProtection()
)

const maxForm = 64 << 10

// page is what the template shows.
type page struct {
	Lang, Dir     string
	T             texts
	CSS           template.CSS
	Heading, Lead string
	Action        string
	Session       *pageSession
	Risks         []pageRisk
	Languages     []pageLanguage
}

type pageSession struct {
	Person, Owner, Token string
	Number               int64
	Status, Tone, Risk   string
	Open                 bool
	Return               template.URL
}

type pageRisk struct{ Code, Label string }

type pageLanguage struct {
	Code, Name string
	Current    bool
}

// showPage is the hosted verification page. The first look at it starts the session (provider/didit.md 8).
func (s *Simulator) showPage(w http.ResponseWriter, r *http.Request) {
	if err := s.age(r.Context()); err != nil {
		s.pageFailure(w, r, nil, err)
		return
	}
	x, err := sessionBy(r.Context(), s.db, `token = $1`, r.PathValue("token"))
	// Asking for the headers, or fetching ahead what nobody may look at, opens nothing.
	looking := r.Method == http.MethodGet && !strings.Contains(r.Header.Get("Sec-Purpose"), "prefetch")
	if err == nil && looking && (x.status == notStarted || x.status == resubmitted) {
		x, err = s.change(r.Context(), `token = $1`, x.token, func(tx *sql.Tx, x *session) error {
			return s.begin(r.Context(), tx, x)
		})
	}
	if err != nil {
		s.pageFailure(w, r, x, err)
		return
	}
	s.render(w, r, http.StatusOK, x)
}

// begin starts a session that waits for its person.
func (s *Simulator) begin(ctx context.Context, tx *sql.Tx, x *session) error {
	if x.status == notStarted || x.status == resubmitted {
		return s.move(ctx, tx, x, inProgress, "")
	}
	return nil
}

var (
	errFinished = errors.New("the session is finished")
	errAction   = errors.New("unknown action")
	errForm     = errors.New("the form is not of this page")
)

// actOnPage takes the choice made on the page, as a form or as JSON {"action", "risk"}.
func (s *Simulator) actOnPage(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "application/json" {
		s.actByJSON(w, r)
		return
	}
	token := r.PathValue("token")
	if err := r.ParseForm(); err != nil || sameOrigin.Check(r) != nil ||
		subtle.ConstantTimeCompare([]byte(r.PostForm.Get("token")), []byte(token)) != 1 {
		s.pageFailure(w, r, nil, errForm)
		return
	}
	x, err := s.finish(r.Context(), token, r.PostForm.Get("action"), r.PostForm.Get("risk"))
	if errors.Is(err, errFinished) {
		// A second press of a button: show how it ended.
		s.seeOther(w, s.basePath+r.URL.EscapedPath()+langQuery(r))
		return
	}
	if err != nil {
		s.pageFailure(w, r, nil, err)
		return
	}
	if target := returnLink(x); target != "" {
		s.seeOther(w, target)
		return
	}
	s.seeOther(w, s.basePath+r.URL.EscapedPath()+langQuery(r))
}

func (s *Simulator) seeOther(w http.ResponseWriter, target string) {
	secure(w)
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}

func (s *Simulator) actByJSON(w http.ResponseWriter, r *http.Request) {
	secure(w)
	if sameOrigin.Check(r) != nil {
		answerDetail(w, http.StatusForbidden, forbiddenText)
		return
	}
	in, err := body(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	action, _ := in["action"].(string)
	risk, _ := in["risk"].(string)
	x, err := s.finish(r.Context(), r.PathValue("token"), action, risk)
	switch {
	case errors.Is(err, errFinished):
		answerDetail(w, http.StatusConflict, "The session is finished.")
	case errors.Is(err, errAction):
		answerInvalid(w, "action", "Use approve, decline, review or abandon.")
	case errors.Is(err, ErrUnknownRisk):
		answerInvalid(w, "risk", "Not a risk code.")
	case err != nil:
		s.fail(w, r, err)
	default:
		answer(w, http.StatusOK, map[string]any{"session_id": x.id, "status": x.status, "redirect": orNull(returnLink(x))})
	}
}

// finish ends a session as the page was told to.
func (s *Simulator) finish(ctx context.Context, token, action, risk string) (*session, error) {
	status, ok := map[string]string{"approve": approved, "decline": declined, "review": inReview, "abandon": abandoned}[action]
	if !ok {
		return nil, errAction
	}
	switch status {
	case approved, abandoned:
		risk = ""
	case declined:
		if risk == "" {
			risk = declineRisk
		}
	case inReview:
		if risk == "" {
			risk = reviewRisk
		}
	}
	if _, ok := lookRisk(risk); risk != "" && !ok {
		return nil, ErrUnknownRisk
	}
	if err := s.age(ctx); err != nil {
		return nil, err
	}
	return s.change(ctx, `token = $1`, token, func(tx *sql.Tx, x *session) error {
		if !x.unfinished() {
			return errFinished
		}
		if err := s.begin(ctx, tx, x); err != nil {
			return err
		}
		return s.move(ctx, tx, x, status, risk)
	})
}

// returnLink is the callback with the query that Didit adds (provider/didit.md 2.1); "" without a callback.
func returnLink(x *session) string {
	if x.callback == "" {
		return ""
	}
	u, err := url.Parse(x.callback)
	if err != nil {
		return ""
	}
	added := url.Values{"verificationSessionId": {x.id}, "status": {x.status}}.Encode()
	added = strings.ReplaceAll(added, "+", "%20")
	if u.RawQuery != "" {
		added = u.RawQuery + "&" + added
	}
	u.RawQuery = added
	return u.String()
}

// pageFailure shows why a page cannot be shown.
func (s *Simulator) pageFailure(w http.ResponseWriter, r *http.Request, x *session, err error) {
	switch {
	case errors.Is(err, ErrNotFound):
		s.render(w, r, http.StatusNotFound, nil)
	case errors.Is(err, errForm):
		s.render(w, r, http.StatusForbidden, nil)
	case errors.Is(err, errAction), errors.Is(err, ErrUnknownRisk):
		s.render(w, r, http.StatusBadRequest, nil)
	default:
		if r.Context().Err() == nil {
			s.log.ErrorContext(r.Context(), "didit simulator: page failed", "error", err)
		}
		s.render(w, r, http.StatusInternalServerError, x)
	}
}

// render writes the page for a session, or the apology for a status when there is none.
func (s *Simulator) render(w http.ResponseWriter, r *http.Request, status int, x *session) {
	at := pageLanguageOf(r, x)
	chosen := pageLanguages[at]
	p := page{
		Lang: chosen.code, Dir: chosen.dir, T: chosen.texts, CSS: template.CSS(pageCSS),
		Action: s.basePath + r.URL.EscapedPath() + langQuery(r),
	}
	for i, l := range pageLanguages {
		p.Languages = append(p.Languages, pageLanguage{l.code, l.name, i == at})
	}
	switch {
	case status == http.StatusNotFound:
		p.Heading, p.Lead = p.T.MissingHeading, p.T.MissingLead
	case status != http.StatusOK:
		p.Heading, p.Lead = p.T.RefusedHeading, p.T.RefusedLead
	default:
		p.Session = &pageSession{
			Person: x.fullName, Owner: x.owner, Token: x.token, Number: x.number, Status: p.T.status(x.status), Tone: tone(x.status),
			Open: x.unfinished(),
		}
		p.Heading, p.Lead = p.T.Heading, p.T.Lead
		for _, risk := range risks[:offeredRisks] {
			p.Risks = append(p.Risks, pageRisk{risk.code, p.T.risk(risk.code)})
		}
		if !x.unfinished() {
			p.Heading, p.Lead = p.T.DoneHeading, p.T.DoneLead
			p.Session.Return = template.URL(returnLink(x)) // checked when the session was made
			if x.risk != "" {
				p.Session.Risk = p.T.risk(x.risk)
			}
		}
		switch x.status {
		case inReview:
			p.Lead = p.T.ReviewLead
		case expired:
			p.Lead = p.T.ExpiredLead
		}
	}
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, p); err != nil {
		s.log.ErrorContext(r.Context(), "didit simulator: page not rendered", "error", err)
		http.Error(w, "page not rendered", http.StatusInternalServerError)
		return
	}
	secure(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", chosen.code)
	w.Header().Set("Vary", "Accept-Language")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}

// secure sets the headers of everything under a link that is itself a secret.
func secure(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // "no-referrer" would make the Origin of our own forms null
	h.Set("Cache-Control", "no-store")
}

// pageLanguageOf picks a language: what the link says, what the session was made with, what the browser likes.
func pageLanguageOf(r *http.Request, x *session) int {
	wishes := []string{r.URL.Query().Get("lang")}
	if x != nil {
		wishes = append(wishes, x.language)
	}
	for _, wish := range wishes {
		for i, l := range pageLanguages {
			if len(wish) >= 2 && strings.EqualFold(wish[:2], l.code) {
				return i
			}
		}
	}
	// By base language: a matcher takes a reader of Traditional Chinese for one of Arabic rather than show
	// Simplified.
	tags, _, _ := language.ParseAcceptLanguage(r.Header.Get("Accept-Language")) // best first; none if malformed
	for _, tag := range tags {
		base, _ := tag.Base()
		for i, l := range pageLanguages {
			if base.String() == l.code {
				return i
			}
		}
	}
	return 0
}

// langQuery keeps the chosen language on the next page.
func langQuery(r *http.Request) string {
	if lang := r.URL.Query().Get("lang"); lang != "" {
		return "?" + url.Values{"lang": {lang}}.Encode()
	}
	return ""
}

func tone(status string) string {
	switch status {
	case approved:
		return "go"
	case declined, expired, kycExpired, abandoned:
		return "stop"
	}
	return "wait"
}
