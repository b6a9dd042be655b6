package db_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// An address holds the password; whatever is wrong with it, the error goes to logs and terminals.
func TestErrorsNeverRepeatThePassword(t *testing.T) {
	t.Parallel()
	const password = "canary-5f1c9"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	_ = listener.Close() // nobody listens there any more
	for _, address := range []string{
		"", "://", "sqlite://", "sqlite:" + password, password,
		"mysql://u:" + password + "@localhost/x",
		"u:" + password + "@localhost/x",
		"postgres:u:" + password + "@localhost/x",
		"user=u password=" + password + " host=127.0.0.1",
		"postgres://u:" + password + "@localhost:port/x",
		"postgres://u:" + password + "@[::1/x",
		"postgres://u:" + password + "%zz@localhost/x",
		"postgres://u:" + password + "@localhost/x?sslmode=" + password,
		"postgres://u:" + password + "@localhost/x?connect_timeout=" + password,
		"postgres://u:" + password + "@localhost/x?sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
		"postgres://u:" + password + "@localhost/x?pool_max_conns=-1",
		"postgres://u:" + password + "@" + closed + "/x",
		"postgresql://u:" + password + "@" + closed + "/x?sslmode=disable",
		" postgres://u:" + password + "@" + closed + "/x",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		d, err := db.Open(ctx, address, db.Options{})
		cancel()
		if err == nil {
			_ = d.Close()
			t.Errorf("%q was opened", address)
			continue
		}
		if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, password) {
			t.Errorf("%q: %s", address, text)
		}
	}
}
