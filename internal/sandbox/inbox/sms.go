package inbox

import (
	"bytes"
	"crypto/hmac"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/comecomepay/comecomepay/internal/platform/sms"
)

const maxSMSBytes = 16 << 10

// SMSHandler is the gateway of short messages: POST {"to", "text"} as package sms sends it. What is taken stands in the inbox like a
// mail, under its number; a message that comes again with the same Idempotency-Key stands there once more, as it would on a phone.
// Errors are {"error": <text>} with a 4xx.
func (in *Inbox) SMSHandler() http.Handler {
	refuse := func(w http.ResponseWriter, status int, why string) {
		answer(w, status, map[string]string{"error": why})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", "POST")
			refuse(w, http.StatusMethodNotAllowed, "use POST")
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSMSBytes))
		if err != nil {
			refuse(w, http.StatusBadRequest, "the body cannot be read")
			return
		}
		if in.smsSecret.Empty() || !hmac.Equal([]byte(r.Header.Get(sms.SignatureHeader)), []byte(sms.Sign(in.smsSecret, body))) {
			refuse(w, http.StatusForbidden, "the signature is wrong")
			return
		}
		var message struct{ To, Text string }
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&message); err != nil || strings.Trim(message.To, "+0123456789") != "" || key(message.To) == "" || message.Text == "" {
			refuse(w, http.StatusBadRequest, `the body must be {"to": <number>, "text": <text>}`)
			return
		}
		if err := in.store(r.Context(), []string{message.To}, parsed{subject: "SMS", text: message.Text}); err != nil {
			in.log.Error("inbox", "error", err)
			refuse(w, http.StatusInternalServerError, "the message could not be stored")
			return
		}
		answer(w, http.StatusOK, struct{}{})
	})
}
