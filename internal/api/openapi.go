package api

import (
	"context"
	"embed"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

const securityScheme = "BearerAuth"

const readyTimeout = 2 * time.Second

func describe(version string) huma.Config {
	c := huma.DefaultConfig("ComeComePay", version)
	c.Info.Description = "Backend of a crypto-funded card wallet. Every operation answers under the path given here and under /api/v1, " +
		"with and without a trailing slash. Every successful answer carries status \"success\"; every error is an ErrorResponse."
	c.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	c.Servers = []*huma.Server{{URL: "/api/v1"}, {URL: "/"}}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{securityScheme: {
		Type: "apiKey", Name: "Authorization", In: "header", Description: "Bearer token 认证，格式: Bearer {token}",
	}}
	// Older and newer builds of the app send fields that we do not know, and leave out ones that we do.
	c.FieldsOptionalByDefault = true
	c.AllowAdditionalPropertiesByDefault = true
	c.CreateHooks = nil // no $schema links in answers: the app's models are strict
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	return c
}

// OpenAPI is the description of all registered operations.
func (a *API) OpenAPI() *huma.OpenAPI { return a.huma.OpenAPI() }

//go:embed docs
var docsFiles embed.FS

// registerDocs serves the description and a page that shows it without any help from elsewhere.
func (a *API) registerDocs() {
	a.mux.HandleFunc("GET /openapi.yaml", func(w http.ResponseWriter, r *http.Request) {
		text, err := a.OpenAPI().YAML()
		a.serveText(w, r, "application/yaml", text, err)
	})
	a.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, r *http.Request) {
		text, err := json.Marshal(a.OpenAPI())
		a.serveText(w, r, "application/json", text, err)
	})
	for name, contentType := range map[string]string{
		"index.html": "text/html; charset=utf-8", "docs.css": "text/css; charset=utf-8", "docs.js": "text/javascript; charset=utf-8",
	} {
		path := "GET /docs"
		if name != "index.html" {
			path += "/" + name
		}
		a.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
			text, err := docsFiles.ReadFile("docs/" + name)
			a.serveText(w, r, contentType, text, err)
		})
	}
	a.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		a.serveText(w, r, "application/json", []byte(`{"status":"success"}`), nil)
	})
	a.mux.HandleFunc("GET /readyz", a.Readiness)
}

// Readiness answers whether requests can be served: 503 while starting or draining, or without the database.
func (a *API) Readiness(w http.ResponseWriter, r *http.Request) {
	if a.ready != nil {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if err := a.ready(ctx); err != nil {
			a.reject(w, r, ErrUnavailable.Because(err))
			return
		}
	}
	a.serveText(w, r, "application/json", []byte(`{"status":"success"}`), nil)
}

func (a *API) serveText(w http.ResponseWriter, r *http.Request, contentType string, text []byte, err error) {
	if err != nil {
		a.reject(w, r, ErrInternal.Because(err))
		return
	}
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(text)
}
