package pokepay

import (
	"strconv"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/provider"
)

// Beijing is the zone of all of PokePay's times that are written without one: +08:00, without summer time
// (provider/pokepay.md section 2).
var Beijing = time.FixedZone("Asia/Shanghai", 8*60*60)

const beijingLayout = "2006-01-02 15:04:05"

// ParseTime reads a time as PokePay writes it: unix seconds, "2026-01-31 08:00:00" in Beijing, or RFC 3339.
// It gives UTC, and false for "", 0 and what cannot be read.
func ParseTime(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if t, err := time.ParseInLocation(beijingLayout, s, Beijing); err == nil {
		return t.UTC(), true
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.UTC(), true
	}
	if unix, ok := provider.ParseInt(s); ok {
		return provider.ParseTime(strconv.FormatInt(unix, 10))
	}
	return time.Time{}, false
}
