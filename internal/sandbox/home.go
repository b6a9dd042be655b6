// Package sandbox is the front door of a sandbox: the page that says what runs where and leads a newcomer from
// signing up to a verified customer who moves money, by clicking or by commands to copy.
package sandbox

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
)

// HomeData is what the home page tells. Base addresses have no slash at the end.
type HomeData struct {
	APIBase     string // public API, such as "http://127.0.0.1:8010"
	SandboxBase string // the listener that serves this page
	OpsBase     string // metrics, health and profiles
	MailAddr    string // host:port of the SMTP server
	DataDir     string // where the databases are
	Channel     string // who runs the verification: "pokepay" or "didit" (KYC_CHANNEL)
	AutoApprove bool   // the issuer accepts by itself once the verification page is completed
	AutoPay     bool   // the crypto gateway approves and pays withdrawals by itself
}

//go:embed pages
var pages embed.FS

var homePage = template.Must(template.ParseFS(pages, "pages/home.html.tmpl"))

const (
	homePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; " +
		"form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

	// walkPrefix is where the walkthrough reaches the API through this listener, so that the API needs no
	// cross-origin headers for it.
	walkPrefix = "/walk"
	apiPrefix  = "/api/v1/"
	// walkBodyLimit bounds a request of the walkthrough, which sends a dozen short texts.
	walkBodyLimit = 64 << 10
)

// Home serves the home page:
//
//	GET /                     the page
//	GET /walk/…               its script and style
//	ANY /walk/api/v1/…        passed on to the API, for the page's own script only
//
// Errors of the passage are {"error": <text>}. It panics if an address in data is not a URL, which only a
// mistake in the programme can cause.
func Home(data HomeData) http.Handler {
	api, err := url.Parse(data.APIBase)
	if err != nil || api.Host == "" {
		panic("sandbox: APIBase is not an absolute URL: " + data.APIBase)
	}
	var page bytes.Buffer
	if err := homePage.Execute(&page, data); err != nil {
		panic("sandbox: home page: " + err.Error())
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", static("text/html; charset=utf-8", page.Bytes()))
	for file, kind := range map[string]string{"walk.js": "text/javascript; charset=utf-8", "style.css": "text/css; charset=utf-8"} {
		body, err := pages.ReadFile("pages/" + file)
		if err != nil {
			panic(err) // the files are compiled in
		}
		mux.Handle("GET "+walkPrefix+"/"+file, static(kind, body))
	}
	// A page of another origin must not act through this door in the name of whoever has the sandbox open.
	mux.Handle(walkPrefix+apiPrefix, http.NewCrossOriginProtection().Handler(passage(api)))
	return mux
}

func static(kind string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Content-Security-Policy", homePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		_, _ = w.Write(body)
	})
}

// passage passes requests on to the API: to this one host, and to no path outside /api/v1.
func passage(api *url.URL) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = api.Scheme, api.Host, api.Host
			r.Out.URL.Path = strings.TrimSuffix(api.Path, "/") + strings.TrimPrefix(r.In.URL.Path, walkPrefix)
			r.Out.URL.RawPath = ""
			// Only what the mobile app would send: no cookies and no traces of the browser's page.
			header := http.Header{}
			for _, name := range []string{"Accept", "Accept-Language", "Authorization", "Content-Type", "Idempotency-Key", "User-Agent"} {
				if values := r.In.Header.Values(name); len(values) > 0 {
					header[name] = values
				}
			}
			r.Out.Header = header
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			var tooLarge *http.MaxBytesError
			if errors.As(err, &tooLarge) {
				refuse(w, http.StatusRequestEntityTooLarge, "the request is too large")
				return
			}
			refuse(w, http.StatusBadGateway, "the API at "+api.String()+" does not answer; is it running?")
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := strings.TrimPrefix(r.URL.Path, walkPrefix)
		clean := path.Clean(target)
		if strings.HasSuffix(target, "/") {
			clean += "/"
		}
		if clean != target || !strings.HasPrefix(target, apiPrefix) || r.URL.RawPath != "" || r.Header.Get("Upgrade") != "" {
			refuse(w, http.StatusNotFound, "only paths under "+apiPrefix+" are passed on")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, walkBodyLimit)
		proxy.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, status int, text string) {
	body, err := json.Marshal(map[string]string{"error": text})
	if err != nil {
		body = []byte(`{"error":"refused"}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
