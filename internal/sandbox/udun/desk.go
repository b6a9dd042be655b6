package udun

import (
	"bytes"
	"crypto/rand"
	"database/sql"
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

// What a deposit and a withdrawal of each status is, for people.
var statusWords = map[int]map[int]string{
	deposit:    {StatusReview: "seen", StatusSending: "confirming", StatusRefused: "refused", StatusSucceeded: "arrived", StatusFailed: "failed"},
	withdrawal: {StatusReview: "waits for review", StatusSending: "being sent", StatusRefused: "refused", StatusSucceeded: "paid", StatusFailed: "failed"},
}

// The desk's further actions, beside the outcomes of withdrawals.
const (
	actionConfirm = "confirm"
	actionResend  = "resend"
)

// button is one action that the desk offers.
type button struct {
	Action, Label string
	Main          bool
}

// deskRow is one trade as the desk shows it.
type deskRow struct {
	TradeState
	StatusWord string
	Buttons    []button
}

func (t *trade) buttons(told bool) (list []button) {
	switch {
	case t.kind == withdrawal && t.status == StatusReview:
		list = []button{{Approved, "Approve", true}, {Refused, "Refuse", false}, {Succeeded, "Pay at once", false}, {Failed, "Let it fail", false}}
	case t.kind == withdrawal && t.status == StatusSending:
		list = []button{{Succeeded, "Pay", true}, {Failed, "Let it fail", false}}
	case t.status <= StatusSending:
		list = []button{{actionConfirm, "Confirm", true}}
	}
	if told {
		list = append(list, button{actionResend, "Tell again", false})
	}
	return list
}

// showDesk is the page where a person plays the gateway's staff. It reloads its table by itself while nobody is at work in it.
func (s *Simulator) showDesk(w http.ResponseWriter, r *http.Request) {
	page, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || page < 1 || page > 1_000_000 {
		page = 1
	}
	view := struct {
		Nonce              string
		Total              int
		Rows               []deskRow
		Balances           []BalanceState
		Page, Newer, Older int // 0: no such page
		AutoApprove        bool
		Error              string
	}{Nonce: rand.Text(), Page: page, Newer: page - 1, AutoApprove: s.AutoApprove, Error: r.URL.Query().Get("error")}
	err = s.inTx(r.Context(), func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(r.Context(), `SELECT count(*) FROM udun_trades`).Scan(&view.Total); err != nil {
			return err
		}
		all, err := balances(r.Context(), tx)
		if err != nil {
			return err
		}
		for _, b := range all {
			if b.BaseUnits != "0" {
				view.Balances = append(view.Balances, b)
			}
		}
		list, err := trades(r.Context(), tx, deskRows, (page-1)*deskRows)
		if err != nil {
			return err
		}
		for _, t := range list {
			row := deskRow{TradeState: t.state(), StatusWord: statusWords[t.kind][t.status]}
			if row.Callbacks, err = callbacksOf(r.Context(), tx, t.number); err != nil {
				return err
			}
			row.Buttons = t.buttons(row.Callbacks != CallbackCounts{})
			view.Rows = append(view.Rows, row)
		}
		return nil
	})
	if err != nil {
		s.deskFailed(w, r, err)
		return
	}
	if page*deskRows < view.Total {
		view.Older = page + 1
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

// actAtDesk takes the desk's forms: trade_id, action, page.
func (s *Simulator) actAtDesk(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
	id, action := r.PostFormValue("trade_id"), r.PostFormValue("action")
	var err error
	switch action {
	case actionConfirm:
		_, err = s.Confirm(r.Context(), id, 0)
	case actionResend:
		_, err = s.Resend(r.Context(), Key{TradeID: id})
	default:
		_, err = s.Decide(r.Context(), Key{TradeID: id}, action, Telling{})
	}
	back := url.Values{}
	if page := r.PostFormValue("page"); page != "" && page != "1" {
		back.Set("page", page)
	}
	switch {
	case errors.Is(err, ErrUnknownTrade), errors.Is(err, ErrDecided), errors.Is(err, ErrBadOutcome):
		back.Set("error", "Trade "+id+": "+err.Error())
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
	s.Log.ErrorContext(r.Context(), "simulated udun: desk", "error", err)
	http.Error(w, "The desk cannot be shown; the log says why.", http.StatusInternalServerError)
}
