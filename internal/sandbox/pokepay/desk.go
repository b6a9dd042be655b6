package pokepay

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
)

//go:embed desk.html
var deskHTML string

var deskPage = template.Must(template.New("desk").Parse(deskHTML))

const deskRows = 50

// statusWords says what the statuses mean, for people.
var statusWords = map[int]string{
	StatusOpen:      "not reviewed",
	StatusApproved:  "approved",
	StatusFailed:    "failed",
	StatusMismatch:  "information mismatch",
	StatusReview:    "manual review",
	StatusDuplicate: "duplicate document",
}

// deskRow is one application as the desk shows it.
type deskRow struct {
	ID                               int64
	Name, Email, AgentUID, SessionID string
	Kind                             kind
	Status                           int
	StatusWord, Reason, Remark       string
	InitCalls                        int64
	Created, Updated                 string
}

// showDesk is the page where a person plays the issuer's staff. It reloads its table by itself while nobody
// is at work in it.
func (s *Simulator) showDesk(w http.ResponseWriter, r *http.Request) {
	page, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || page < 1 || page > largestNumber/deskRows {
		page = 1
	}
	total, err := countApplications(r.Context(), s.DB, filter{})
	if err != nil {
		s.deskFailed(w, r, err)
		return
	}
	found, err := applications(r.Context(), s.DB, filter{}, deskRows, (page-1)*deskRows)
	if err != nil {
		s.deskFailed(w, r, err)
		return
	}
	view := struct {
		Nonce               string
		Total               int64
		Rows                []deskRow
		Page, Newer, Older  int // 0: no such page
		Failed, Mismatch    int
		Approved, Review    int
		Duplicate           int
		AutoApprove         bool
		Error, AutoApproval string
	}{
		Nonce: rand.Text(), Total: total, Page: page, Newer: page - 1,
		Approved: StatusApproved, Failed: StatusFailed, Mismatch: StatusMismatch, Review: StatusReview, Duplicate: StatusDuplicate,
		AutoApprove: s.AutoApprove, AutoApproval: s.AutoApproveAfter.String(),
		Error: r.URL.Query().Get("error"),
	}
	if int64(page*deskRows) < total {
		view.Older = page + 1
	}
	const shown = "2006-01-02 15:04:05"
	for _, a := range found {
		view.Rows = append(view.Rows, deskRow{
			ID: a.id, Name: a.firstEnName + " " + a.lastEnName, Email: a.email, AgentUID: a.agentUID, SessionID: a.sessionID,
			Kind: a.kind, Status: a.status, StatusWord: statusWords[a.status], Reason: a.reason, Remark: a.remark,
			InitCalls: a.initCalls, Created: a.created.Format(shown), Updated: a.updated.Format(shown),
		})
	}
	var out bytes.Buffer
	if err := deskPage.Execute(&out, view); err != nil {
		s.deskFailed(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+view.Nonce+"'; script-src 'nonce-"+view.Nonce+
		"'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(out.Bytes())
}

// decideAtDesk takes the desk's forms: id, status, reason, page.
func (s *Simulator) decideAtDesk(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
	id, idErr := strconv.ParseInt(r.PostFormValue("id"), 10, 64)
	status, statusErr := strconv.Atoi(r.PostFormValue("status"))
	if idErr != nil || statusErr != nil {
		http.Error(w, "id and status must be numbers", http.StatusBadRequest)
		return
	}
	back := url.Values{}
	if page := r.PostFormValue("page"); page != "" && page != "1" {
		back.Set("page", page)
	}
	err := s.Decide(r.Context(), Key{ID: id}, status, r.PostFormValue("reason"))
	switch {
	case errors.Is(err, ErrUnknownKYC), errors.Is(err, ErrBadStatus):
		back.Set("error", "Application "+strconv.FormatInt(id, 10)+": "+err.Error())
	case err != nil:
		s.deskFailed(w, r, err)
		return
	}
	// Relative, for the prefix that the page is served under is not known here.
	location := "desk"
	if len(back) > 0 {
		location += "?" + back.Encode()
	}
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

func (s *Simulator) deskFailed(w http.ResponseWriter, r *http.Request, err error) {
	s.Log.ErrorContext(r.Context(), "simulated pokepay: desk", "error", err)
	http.Error(w, "The desk cannot be shown; the log says why.", http.StatusInternalServerError)
}
