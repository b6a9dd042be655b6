package api

import (
	"context"
	"embed"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

const securityScheme = "BearerAuth"

const readyTimeout = 2 * time.Second

func configuration(version string) huma.Config {
	c := huma.DefaultConfig("ComeComePay", version)
	c.Info.Description = "Backend of a crypto-funded card wallet. Every operation answers under the path given here and under /api/v1, " +
		"with and without a trailing slash. Every successful answer carries status \"success\"; every error is an ErrorResponse. " +
		"Every operation heeds Accept-Language and lang, names the request in X-Request-ID, and may answer 429, 500 and 503."
	c.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	c.Servers = []*huma.Server{{URL: "/api/v1"}, {URL: "/"}}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{securityScheme: {
		Type: "apiKey", Name: "Authorization", In: "header", Description: "Bearer token 认证，格式: Bearer {token}",
	}}
	c.Components.Parameters, c.Components.Headers, c.Components.Responses = parameters(), headers(), map[string]*huma.Response{}
	// Older and newer builds of the app send fields that we do not know, and leave out ones that we do.
	c.FieldsOptionalByDefault = true
	c.AllowAdditionalPropertiesByDefault = true
	c.CreateHooks = nil // no $schema links in answers: the app's models are strict
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.Formats = maps.Clone(c.Formats)
	for name, format := range c.Formats {
		format.Unmarshal, format.Marshal = unmarshal, send
		c.Formats[name] = format
	}
	c.Transformers = []huma.Transformer{write}
	return c
}

// What the edge does for operations of many kinds is described once, in the components.
const (
	languageHeader = "Accept-Language"
	languageQuery  = "lang"
	keyHeader      = "Idempotency-Key"
	retryHeader    = "Retry-After"
	requestHeader  = "X-Request-ID"
)

// parameters are those that no operation reads itself.
func parameters() map[string]*huma.Param {
	locales := make([]any, 0, len(i18n.Locales))
	for _, l := range i18n.Locales {
		locales = append(locales, string(l))
	}
	return map[string]*huma.Param{
		languageHeader: {Name: languageHeader, In: "header", Description: "Language of message and of all other texts: en, zh or ar.",
			Schema: &huma.Schema{Type: huma.TypeString, Examples: []any{"en"}}},
		languageQuery: {Name: languageQuery, In: "query", Description: "Instead of Accept-Language.",
			Schema: &huma.Schema{Type: huma.TypeString, Enum: locales}},
		keyHeader: {Name: keyHeader, In: "header", Description: "Makes it safe to send the request again: for 24 hours the same key with the same request " +
			"is given the first answer, with Idempotent-Replayed: true.",
			Schema: &huma.Schema{Type: huma.TypeString, Pattern: idempotencyKeyForm.String(), Examples: []any{"5e0f1c7a-8d0b-4d1e-9a53-2f6c1f0d7b44"}}},
	}
}

func headers() map[string]*huma.Header {
	return map[string]*huma.Header{
		retryHeader:   {Description: "Seconds to wait.", Required: true, Schema: &huma.Schema{Type: huma.TypeInteger, Examples: []any{30}}},
		requestHeader: {Description: "Name of this request in our logs.", Required: true, Schema: &huma.Schema{Type: huma.TypeString}},
	}
}

// refusals are the answers that more than one operation gives, by status.
var refusals = map[int]string{
	http.StatusBadRequest:            "The request, or the state of things, does not allow it.",
	http.StatusUnauthorized:          "No usable token.",
	http.StatusForbidden:             "Not allowed to this customer.",
	http.StatusNotFound:              "There is no such thing.",
	http.StatusConflict:              "The first request with this Idempotency-Key is still being worked on.",
	http.StatusRequestEntityTooLarge: "The body is too large.",
	http.StatusUnprocessableEntity:   "The request cannot be read, or its Idempotency-Key was used for another one.",
	http.StatusTooManyRequests:       "Too many requests of this customer or from this network address, or a lock-out.",
	http.StatusInternalServerError:   "A fault of ours.",
	http.StatusServiceUnavailable:    "It took too long, a provider does not answer, or we are stopping.",
}

// statuses are those that an operation may answer with besides 200.
func (op Operation) statuses() map[int]bool {
	all := map[int]bool{http.StatusTooManyRequests: true, http.StatusInternalServerError: true, http.StatusServiceUnavailable: true}
	if op.Unreadable != nil {
		all[statuses[op.Unreadable.Kind]] = true
	} else {
		all[http.StatusUnprocessableEntity] = true
		if op.Method != http.MethodGet {
			all[http.StatusRequestEntityTooLarge] = true
		}
	}
	if op.forCustomers() {
		all[http.StatusUnauthorized] = true
	}
	if op.takesKey() {
		for _, p := range []*problem.Problem{ErrKeyInvalid, ErrKeyInUse, ErrKeyReused} {
			all[statuses[p.Kind]] = true
		}
	}
	for _, status := range op.Errors {
		all[status] = true
	}
	return all
}

// describe puts into the framework's description what the edge does, before the framework adds what it sees of the types.
func (a *API) describe(op Operation, h *huma.Operation, page bool) {
	schema := a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[ErrorResponse](), true, "")
	body := map[string]*huma.MediaType{"application/json": {Schema: schema}}
	h.Responses = map[string]*huma.Response{}
	if op.forCustomers() {
		h.Security = []map[string][]string{{securityScheme: {}}}
	}
	if op.Published != nil {
		for status, words := range op.Published {
			h.Responses[strconv.Itoa(status)] = &huma.Response{Description: words}
			if status >= 400 {
				h.Responses[strconv.Itoa(status)].Content = body
			}
		}
		return
	}
	if op.Access == Provider {
		h.RequestBody = &huma.RequestBody{}
	}
	if page {
		h.Responses["200"] = &huma.Response{Content: map[string]*huma.MediaType{"text/html": {Schema: &huma.Schema{Type: huma.TypeString}}}}
	}
	if op.Access != Provider {
		names := []string{languageHeader, languageQuery}
		if op.takesKey() {
			names = append(names, keyHeader)
		}
		for _, name := range names {
			h.Parameters = append(h.Parameters, &huma.Param{Ref: "#/components/parameters/" + name})
		}
	}
	shared := a.OpenAPI().Components.Responses
	for status := range op.statuses() {
		name := strings.ReplaceAll(http.StatusText(status), " ", "")
		if shared[name] == nil {
			r := &huma.Response{Description: refusals[status], Content: body, Headers: map[string]*huma.Header{}}
			shared[name] = r
			r.Headers[requestHeader] = &huma.Header{Ref: "#/components/headers/" + requestHeader}
			if status == http.StatusTooManyRequests {
				r.Headers[retryHeader] = &huma.Header{Ref: "#/components/headers/" + retryHeader}
			}
		}
		h.Responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/" + name}
	}
}

// complete corrects what the framework cannot see in the types.
func (a *API) complete(op Operation, h *huma.Operation) {
	if op.Access == Provider {
		// Read as bytes, since signatures count over them; what providers send is JSON.
		h.RequestBody.Content = map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{
			Type: huma.TypeObject, AdditionalProperties: true, Description: "As the provider sends it."}}}
	}
	if op.Published == nil {
		for _, media := range h.Responses["200"].Content {
			a.require(media.Schema, map[string]bool{})
		}
	}
}

// require marks in the schema of an answer, and in all schemas below it, the properties that are always there.
func (a *API) require(s *huma.Schema, seen map[string]bool) {
	if s == nil || seen[s.Ref] && s.Ref != "" {
		return
	}
	if s.Ref != "" {
		seen[s.Ref] = true
		registry := a.OpenAPI().Components.Schemas
		t := registry.TypeFromRef(s.Ref)
		if s = registry.SchemaFromRef(s.Ref); s == nil {
			return
		}
		s.Required = nil
		for _, name := range alwaysSent(t) {
			if s.Properties[name] != nil {
				s.Required = append(s.Required, name)
			}
		}
	}
	for _, p := range s.Properties {
		a.require(p, seen)
	}
	a.require(s.Items, seen)
}

// alwaysSent lists the keys that are in the JSON of a struct whatever its values are.
func alwaysSent(t reflect.Type) []string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			keys = append(keys, alwaysSent(f.Type)...)
		case f.IsExported() && name != "" && name != "-" && !strings.Contains(options, "omit"):
			keys = append(keys, name)
		}
	}
	return keys
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
