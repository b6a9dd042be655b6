package kyc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
)

//go:embed landing.html landing.css
var landingFiles embed.FS

var (
	landingPage  = template.Must(template.ParseFS(landingFiles, "landing.html"))
	landingStyle = func() string {
		css, err := landingFiles.ReadFile("landing.css")
		if err != nil {
			panic(err) // embedded
		}
		return string(css)
	}()
	landingPolicy = func() string {
		sum := sha256.Sum256([]byte(landingStyle))
		return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	}()
)

type returnInput struct {
	Ref       string `query:"ref" maxLength:"100" doc:"Our reference of the attempt."`
	SessionID string `query:"verificationSessionId" maxLength:"100"`
	Status    string `query:"status" maxLength:"50" doc:"Proves nothing."`
	Lang      string `query:"lang" maxLength:"10" doc:"zh, en or ar."`
}

// getReturn shows the page that the verification page returns to. Whatever the address says, the page is the same.
func (s *Service) getReturn(ctx context.Context, in *returnInput) (*api.Page, error) {
	if err := s.Returned(ctx, in.Ref, in.SessionID, in.Status); err != nil {
		// The customer is told to go back to the app all the same.
		s.Log.WarnContext(ctx, "return from the verification page not noted", "request_id", api.RequestID(ctx), "error", err)
	}
	l := i18n.FromContext(ctx)
	var page bytes.Buffer
	err := landingPage.Execute(&page, map[string]any{
		"Locale": l, "Direction": l.Direction(), "Style": template.CSS(landingStyle),
		"Title": s.Texts.Get(l, "kyc.return.title", nil), "Text": s.Texts.Get(l, "kyc.return.text", nil), "Hint": s.Texts.Get(l, "kyc.return.hint", nil),
	})
	if err != nil {
		return nil, err
	}
	return &api.Page{ContentType: "text/html; charset=utf-8", ContentLanguage: string(l), ContentSecurity: landingPolicy, Body: page.Bytes()}, nil
}
