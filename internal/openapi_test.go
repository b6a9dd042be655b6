package internal_test

import (
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/rate"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

// description is what the edge says about all capabilities.
func description(t *testing.T) *huma.OpenAPI {
	t.Helper()
	texts := allTexts(t)
	a := api.New(api.Options{Clock: clock.System{}, Texts: texts, Log: slog.New(slog.DiscardHandler), Version: "test"})
	identity.New(identity.Options{Texts: texts, Keys: []identity.TokenKey{{ID: "k", Secret: secret.NewText(string(make([]byte, 32)))}}}).Register(a)
	kyc.New(kyc.Options{}).Register(a)
	rate.New(rate.Options{}).Register(a)
	wallet.New(wallet.Options{}).Register(a)
	return a.OpenAPI()
}

// operations calls for each operation of the description.
func operations(d *huma.OpenAPI, do func(method, path string, op *huma.Operation)) {
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		p := d.Paths[path]
		for method, op := range map[string]*huma.Operation{http.MethodGet: p.Get, http.MethodPost: p.Post, http.MethodPut: p.Put, http.MethodPatch: p.Patch, http.MethodDelete: p.Delete} {
			if op != nil {
				do(method, path, op)
			}
		}
	}
}

// published is the one operation of the published reference, which is described as it is there.
const published = "/didit/status"

func TestTheDescriptionIsValidOpenAPI(t *testing.T) {
	t.Parallel()
	text, err := description(t).YAML()
	if err != nil {
		t.Fatal(err)
	}
	valid := func(text []byte) bool {
		document, err := libopenapi.NewDocument(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := document.BuildV3Model(); err != nil { // follows the references
			t.Log(err)
			return false
		}
		v, errs := validator.NewValidator(document)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		ok, complaints := v.ValidateDocument()
		for _, c := range complaints {
			t.Log(c.Message, c.Reason)
			for _, e := range c.SchemaValidationErrors {
				t.Log(e.FieldPath, e.Reason)
			}
		}
		return ok
	}
	if !valid(text) {
		t.Error("the description is not what OpenAPI 3.1 says")
	}
	for _, broken := range []struct{ from, to string }{
		{"in: query", "in: elsewhere"}, {"#/components/responses/", "#/components/nowhere/"}, {"operationId: ", "operation: 5\n      operationId: "},
	} {
		if !strings.Contains(string(text), broken.from) || valid([]byte(strings.Replace(string(text), broken.from, broken.to, 1))) {
			t.Errorf("it would be accepted with %q too", broken.to)
		}
	}
}

// What the edge does is described at every operation: its limits, its faults, languages and keys.
func TestTheDescriptionSaysWhatTheEdgeDoes(t *testing.T) {
	t.Parallel()
	d := description(t)
	operations(d, func(method, path string, op *huma.Operation) {
		if path == published {
			return
		}
		want := map[string]bool{"429": true, "500": true, "503": true}
		customers, providers := len(op.Security) > 0, path == "/didit/webhook" || strings.HasPrefix(path, "/pokepay/callback/") || strings.HasPrefix(path, "/yudun/callback")
		want["401"] = customers
		if path != "/auth/refresh" {
			want["422"], want["413"] = true, method != http.MethodGet
		} else {
			want["401"], want["422"], want["413"] = true, false, false
		}
		want["409"] = customers && method != http.MethodGet
		if providers {
			want["401"] = true
		}
		for status, is := range want {
			r := op.Responses[status]
			if (r != nil) != is {
				t.Errorf("%s %s: answers %s: %t", method, path, status, r != nil)
			}
		}
		var shared []string
		for _, p := range op.Parameters {
			if name, ok := strings.CutPrefix(p.Ref, "#/components/parameters/"); ok {
				shared = append(shared, name)
			}
		}
		wanted := []string{"Accept-Language", "lang"}
		switch {
		case providers:
			wanted = nil
		case customers && method != http.MethodGet:
			wanted = append(wanted, "Idempotency-Key")
		}
		if diff := cmp.Diff(wanted, shared); diff != "" {
			t.Errorf("%s %s: parameters of all (-want +got):\n%s", method, path, diff)
		}
	})
	if r := d.Components.Responses["TooManyRequests"]; r == nil || r.Headers["Retry-After"] == nil {
		t.Error("429 without Retry-After")
	}
	if page := d.Paths["/kyc/return"].Get.Responses["200"].Content; len(page) != 1 || page["text/html"] == nil {
		t.Errorf("the page for people is described as %v", slices.Collect(maps.Keys(page)))
	}
	for path, statuses := range map[string][]string{
		"/didit/webhook":          {"200", "401", "413", "422", "429", "500", "503"},
		"/pokepay/callback/{key}": {"200", "400", "401", "404", "413", "422", "429", "500", "503"},
	} {
		op := d.Paths[path].Post
		if body := op.RequestBody.Content; len(body) != 1 || body["application/json"] == nil || body["application/json"].Schema.Type != "object" {
			t.Errorf("the body of %s is described as %v", path, slices.Collect(maps.Keys(body)))
		}
		if diff := cmp.Diff(statuses, slices.Sorted(maps.Keys(op.Responses))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

// Generated clients may rely on what is always there, and nothing may be demanded of requests, since builds differ in what they send.
func TestTheDescriptionSaysWhatIsAlwaysThere(t *testing.T) {
	t.Parallel()
	d := description(t)
	sent, told := map[string]bool{}, map[string]bool{}
	var walk func(s *huma.Schema, seen map[string]bool)
	walk = func(s *huma.Schema, seen map[string]bool) {
		if s == nil || s.Ref != "" && seen[s.Ref] {
			return
		}
		if s.Ref != "" {
			seen[s.Ref] = true
			s = d.Components.Schemas.SchemaFromRef(s.Ref)
		}
		walk(s.Items, seen)
		for _, p := range s.Properties {
			walk(p, seen)
		}
	}
	operations(d, func(method, path string, op *huma.Operation) {
		if op.RequestBody != nil {
			walk(op.RequestBody.Content["application/json"].Schema, sent)
		}
		for _, media := range op.Responses["200"].Content {
			walk(media.Schema, told)
		}
	})
	for ref := range sent {
		if s := d.Components.Schemas.SchemaFromRef(ref); len(s.Required) > 0 || told[ref] {
			t.Errorf("%s of requests: answers use it too: %t; required %v", ref, told[ref], s.Required)
		}
	}
	// Everything but what is left out where it has no value.
	sometimes := map[string][]string{
		"SignedInResponse": {"next_step"}, "StepResponse": {"next_step"}, "ProfileResponse": {"message"},
		"HistoryItem": {"counterparty_user_id", "completed_at"},
		"ProfileUser": {"withdrawal_blocked_until"}, "TransactionPasswordStatusResponse": {"withdrawal_blocked_until"},
		"GetUserKycStatusResponse": {"status", "user_kyc_status", "can_submit_kyc", "message", "latest_kyc"}, // as published
		"LatestKycInfo":            {"id", "agent_uid", "status", "pokepay_status", "fail_reason", "created_at", "updated_at"},
	}
	for ref := range told {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		s := d.Components.Schemas.SchemaFromRef(ref)
		for key, p := range s.Properties {
			if want := !slices.Contains(sometimes[name], key); slices.Contains(s.Required, key) != want {
				t.Errorf("%s.%s is described as always there: %t", name, key, !want)
			}
			if p.Nullable {
				t.Errorf("%s.%s is described as null at times; the app's models bear none", name, key)
			}
		}
	}
	if len(told) < 12 || len(sent) < 8 {
		t.Errorf("only %d schemas of answers and %d of requests looked at", len(told), len(sent))
	}
}
