package app

import "testing"

// Who says how Go is to collect is heard.
func TestReservedHeap(t *testing.T) {
	defer func() { reserve = nil }()
	for _, tt := range []struct {
		gogc, limit string
		want        int
	}{{"", "", reserved}, {"100", "", 0}, {"off", "", 0}, {"", "128MiB", 0}} {
		t.Setenv("GOGC", tt.gogc)
		t.Setenv("GOMEMLIMIT", tt.limit)
		reserve = nil
		if ReserveHeap(); len(reserve) != tt.want {
			t.Errorf("GOGC %q, GOMEMLIMIT %q: %d bytes", tt.gogc, tt.limit, len(reserve))
		}
	}
}
