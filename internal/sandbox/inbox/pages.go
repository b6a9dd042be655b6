package inbox

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"strconv"
)

//go:embed pages
var pages embed.FS

var (
	listPage    = template.Must(template.ParseFS(pages, "pages/layout.html.tmpl", "pages/list.html.tmpl"))
	messagePage = template.Must(template.ParseFS(pages, "pages/layout.html.tmpl", "pages/message.html.tmpl"))
	errorPage   = template.Must(template.ParseFS(pages, "pages/layout.html.tmpl", "pages/error.html.tmpl"))
)

const (
	pagePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; frame-src 'self'; " +
		"img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	// Mail is written by strangers to this page: nothing in it may run, load or leave.
	mailPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; " +
		"frame-ancestors 'self'; sandbox"
)

// PagesHandler serves the pages for people:
//
//	GET /inbox?to=<address>  the list, which renews itself
//	GET /inbox/{id}          one mail, with its text and its HTML part
//	GET /inbox/{id}/html     the HTML part alone, sealed off by a content security policy
func (in *Inbox) PagesHandler() http.Handler {
	mux := http.NewServeMux()
	list := func(w http.ResponseWriter, r *http.Request) {
		to := r.URL.Query().Get("to")
		messages, err := in.envelopes(r.Context(), to)
		if err != nil {
			in.fail(w, err)
			return
		}
		in.page(w, http.StatusOK, listPage, struct {
			To       string
			Messages []Message
		}{to, messages})
	}
	mux.HandleFunc("GET /inbox", list)
	mux.HandleFunc("GET /inbox/{$}", list)
	mux.HandleFunc("GET /inbox/{id}", func(w http.ResponseWriter, r *http.Request) {
		m, err := in.byPath(r)
		if err != nil {
			in.fail(w, err)
			return
		}
		in.page(w, http.StatusOK, messagePage, m)
	})
	mux.HandleFunc("GET /inbox/{id}/html", func(w http.ResponseWriter, r *http.Request) {
		m, err := in.byPath(r)
		if err == nil && m.HTML == "" {
			err = ErrNotFound
		}
		if err != nil {
			in.fail(w, err)
			return
		}
		headers(w, "text/html; charset=utf-8", mailPolicy)
		_, _ = w.Write([]byte(m.HTML))
	})
	for path, asset := range map[string]struct{ file, kind string }{
		"/inbox/style.css": {"pages/style.css", "text/css; charset=utf-8"},
		"/inbox/renew.js":  {"pages/renew.js", "text/javascript; charset=utf-8"},
	} {
		body, err := pages.ReadFile(asset.file)
		if err != nil {
			panic(err) // the files are compiled in
		}
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			headers(w, asset.kind, pagePolicy)
			_, _ = w.Write(body)
		})
	}
	return mux
}

func (in *Inbox) byPath(r *http.Request) (Message, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return Message{}, ErrNotFound
	}
	return in.Message(r.Context(), id)
}

func headers(w http.ResponseWriter, kind, policy string) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
}

// page renders into memory first, so that a failing template is a clean 500.
func (in *Inbox) page(w http.ResponseWriter, status int, t *template.Template, data any) {
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "layout", data); err != nil {
		in.log.Error("inbox page", "error", err)
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	headers(w, "text/html; charset=utf-8", pagePolicy)
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

func (in *Inbox) fail(w http.ResponseWriter, err error) {
	if errors.Is(err, ErrNotFound) {
		in.page(w, http.StatusNotFound, errorPage, "This mail is not in the inbox. It may have been cleared away.")
		return
	}
	in.log.Error("inbox", "error", err)
	in.page(w, http.StatusInternalServerError, errorPage, "The inbox could not be read; the sandbox's log says why.")
}

// ControlHandler serves the control interface for scripts:
//
//	GET    /control/inbox?to=<address>  the newest 200 mails, newest first; without to: of all addresses
//	DELETE /control/inbox               empties the inbox, answers {}
//
// Errors are {"error": <text>}.
func (in *Inbox) ControlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/control/inbox", func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			messages, err := in.Messages(r.Context(), r.URL.Query().Get("to"))
			if err != nil {
				in.log.Error("inbox", "error", err)
				answer(w, http.StatusInternalServerError, map[string]string{"error": "the inbox could not be read"})
				return
			}
			answer(w, http.StatusOK, messages)
		case http.MethodDelete:
			if err := in.Clear(r.Context()); err != nil {
				in.log.Error("inbox", "error", err)
				answer(w, http.StatusInternalServerError, map[string]string{"error": "the inbox could not be emptied"})
				return
			}
			answer(w, http.StatusOK, struct{}{})
		default:
			w.Header().Set("Allow", "GET, HEAD, DELETE")
			answer(w, http.StatusMethodNotAllowed, map[string]string{"error": "use GET or DELETE"})
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, map[string]string{"error": "no such path: the inbox is at /control/inbox"})
	})
	return mux
}

func answer(w http.ResponseWriter, status int, body any) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // mail is read by people with curl
	if err := encoder.Encode(body); err != nil {
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"error":"the answer could not be written"}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}
