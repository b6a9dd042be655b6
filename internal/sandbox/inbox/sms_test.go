package inbox_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/platform/sms"
	"github.com/comecomepay/comecomepay/internal/sandbox/inbox"
)

// openPhone is an inbox that takes short messages signed with key.
func openPhone(t *testing.T, key secret.Text) *inbox.Inbox {
	t.Helper()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	in, err := inbox.New(t.Context(), inbox.Options{DB: db, Clock: clock.NewFixed(receivedAt), SMSSecret: key})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// What the product sends is what stands in the inbox, under the number however it is written in a query.
func TestShortMessages(t *testing.T) {
	t.Parallel()
	key := secret.NewText("a secret of both sides")
	in := openPhone(t, key)
	server := httptest.NewServer(in.SMSHandler())
	defer server.Close()
	gateway, err := sms.NewGateway(sms.Config{URL: server.URL, Secret: key})
	if err != nil {
		t.Fatal(err)
	}
	if err := gateway.Send(t.Context(), sms.Message{Reference: "r", To: "+85291234567", Text: "رمز 04821 <b>"}); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"%2B85291234567", "+85291234567", "85291234567", ""} {
		var list []inbox.Message
		if err := json.Unmarshal(get(t, in.ControlHandler(), http.MethodGet, "/control/inbox?to="+to).Body.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		if len(list) != 1 || list[0].To != "+85291234567" || list[0].Text != "رمز 04821 <b>" || list[0].Subject != "SMS" || !list[0].ReceivedAt.Equal(receivedAt) {
			t.Errorf("to %s: %+v", to, list)
		}
	}
	if page := get(t, in.PagesHandler(), http.MethodGet, "/inbox/1").Body.String(); !strings.Contains(page, "رمز 04821 &lt;b&gt;") || !strings.Contains(page, "85291234567") {
		t.Error(page)
	}
	if list := messages(t, in, "85291234568"); len(list) != 0 {
		t.Errorf("of another number: %+v", list)
	}
}

func TestShortMessagesRefused(t *testing.T) {
	t.Parallel()
	key := secret.NewText("a secret of both sides")
	in := openPhone(t, key)
	post := func(in *inbox.Inbox, method, body, signature string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), method, "/inbox/sms", strings.NewReader(body))
		r.Header.Set(sms.SignatureHeader, signature)
		in.SMSHandler().ServeHTTP(w, r)
		return w
	}
	good := `{"to":"+85291234567","text":"x"}`
	for name, test := range map[string]struct {
		in                      *inbox.Inbox
		method, body, signature string
		status                  int
	}{
		"unsigned":          {in, "POST", good, "", 403},
		"another key":       {in, "POST", good, sms.Sign(secret.NewText("other"), []byte(good)), 403},
		"another body":      {in, "POST", good, sms.Sign(key, []byte(good+" ")), 403},
		"takes none":        {openPhone(t, secret.Text{}), "POST", good, sms.Sign(secret.Text{}, []byte(good)), 403},
		"read":              {in, "GET", "", "", 405},
		"no JSON":           {in, "POST", "x", sms.Sign(key, []byte("x")), 400},
		"not to a number":   {in, "POST", `{"to":"a@b.co","text":"x"}`, sms.Sign(key, []byte(`{"to":"a@b.co","text":"x"}`)), 400},
		"to nobody":         {in, "POST", `{"text":"x"}`, sms.Sign(key, []byte(`{"text":"x"}`)), 400},
		"nothing":           {in, "POST", `{"to":"12"}`, sms.Sign(key, []byte(`{"to":"12"}`)), 400},
		"something besides": {in, "POST", `{"to":"12","text":"x","from":"y"}`, sms.Sign(key, []byte(`{"to":"12","text":"x","from":"y"}`)), 400},
		"too long":          {in, "POST", strings.Repeat(" ", 17<<10), sms.Sign(key, bytes.Repeat([]byte(" "), 17<<10)), 400},
	} {
		w := post(test.in, test.method, test.body, test.signature)
		if w.Code != test.status || !strings.Contains(w.Body.String(), `"error"`) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if list := messages(t, in, ""); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}
