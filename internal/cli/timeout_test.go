package cli_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// Who waits for longer than a request may last is told so, in time, and the log knows of it.
func TestRequestTimeout(t *testing.T) {
	t.Parallel()
	in := install(t, db.PostgreSQL, 1, "CCP_REQUEST_TIMEOUT=2s", "CCP_POKEPAY_TIMEOUT=1s")
	in.serve()
	c := in.newCustomer()
	began := time.Now()
	err := in.open().RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if _, err := tx.Exec(ctx, `LOCK TABLE users IN ACCESS EXCLUSIVE MODE`); err != nil {
			return err
		}
		if a := c.call("POST", "/auth/signup", object{"email": c.email}); a.status != http.StatusServiceUnavailable || a.code() != "REQUEST_TIMEOUT" {
			t.Errorf("%v", a)
		}
		return nil
	})
	if took := time.Since(began); err != nil || took > 15*time.Second {
		t.Errorf("after %s: %v", took, err)
	}
	if code := c.call("POST", "/auth/signup", object{"email": c.email}).code(); code != "" {
		t.Errorf("afterwards: %s", code)
	}
}
