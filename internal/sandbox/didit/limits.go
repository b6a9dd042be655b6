package didit

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
)

// Limits are the most calls per sliding minute and family (provider/didit.md 5). Zero is the documented
// number; a negative number switches the limit off.
type Limits struct {
	Create   int // v2 and v3 session creation together: 600
	Decision int // 100
	PDF      int // 100
	Read     int // every other GET: 600
	Write    int // every other call: 300
}

// family is a group of calls that share a limit.
type family int

const (
	createFamily family = iota
	decisionFamily
	pdfFamily
	readFamily
	writeFamily
	families
)

const limitWindow = time.Minute

// limiter counts real traffic. It lives on the machine's time, not on the simulated one: moving the sandbox's
// clock must not let a flood through.
type limiter struct {
	clock clock.Clock
	most  [families]int
	mu    sync.Mutex
	calls [families][]time.Time // of the last minute, oldest first
}

func newLimiter(l Limits) *limiter {
	pick := func(wanted, documented int) int {
		if wanted == 0 {
			return documented
		}
		return wanted
	}
	return &limiter{clock: clock.System{}, most: [families]int{
		createFamily:   pick(l.Create, 600),
		decisionFamily: pick(l.Decision, 100),
		pdfFamily:      pick(l.PDF, 100),
		readFamily:     pick(l.Read, 600),
		writeFamily:    pick(l.Write, 300),
	}}
}

// admit counts a call and writes the limit's headers, or answers 429 and reports false.
func (l *limiter) admit(w http.ResponseWriter, f family) bool {
	most := l.most[f]
	if most < 0 {
		return true
	}
	l.mu.Lock()
	now := l.clock.Now()
	calls := l.calls[f]
	for len(calls) > 0 && now.Sub(calls[0]) >= limitWindow {
		calls = calls[1:]
	}
	ok := len(calls) < most
	if ok {
		calls = append(calls, now)
	}
	l.calls[f] = calls
	wait := limitWindow
	if len(calls) > 0 {
		wait = calls[0].Add(limitWindow).Sub(now)
	}
	left := most - len(calls)
	l.mu.Unlock()

	w.Header().Set("X-RateLimit-Limit", strconv.Itoa(most))
	w.Header().Set("X-RateLimit-Remaining", strconv.Itoa(left))
	w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(now.Add(wait).Unix(), 10))
	if !ok {
		answerThrottled(w, wait)
	}
	return ok
}

// answerThrottled writes the 429 of provider/didit.md 5.
func answerThrottled(w http.ResponseWriter, wait time.Duration) {
	seconds := int((wait + time.Second - 1) / time.Second)
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	answerDetail(w, http.StatusTooManyRequests,
		"Request was throttled. Expected available in "+strconv.Itoa(seconds)+" seconds.")
}
