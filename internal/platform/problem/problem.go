// Package problem is the product's one kind of error that a customer may see: a stable code, a kind that
// says what went wrong in general, and a text in every language. Whatever is not a Problem is internal.
package problem

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is the general nature of a problem; the edge turns it into an HTTP status.
type Kind int

// The kinds.
const (
	Invalid         Kind = iota + 1 // the request or the state of things does not allow it: 400
	Malformed                       // the request cannot be read, or a value has the wrong form: 422
	Unauthenticated                 // no usable access token: 401
	Forbidden                       // known, but not allowed: 403
	NotFound                        // 404
	NotAllowed                      // this path has no such method: 405
	Conflict                        // an equal request is being worked on: 409
	TooLarge                        // 413
	TooMany                         // a limit or a lock-out: 429
	Unavailable                     // a provider does not answer, or we are stopping: 503
	Internal                        // ours: 500
)

// Problem is an error with a stable code. Values are immutable: With and Because return copies.
type Problem struct {
	Code       string         // stable, upper case: INSUFFICIENT_BALANCE
	Kind       Kind           // decides the HTTP status
	Params     map[string]any // for the text
	RetryAfter time.Duration  // how long to wait, if waiting helps
	cause      error
}

var (
	mu        sync.Mutex
	catalogue = map[string]*Problem{}
)

// Define adds a code to the catalogue. Its text stands in the locale files under "problem.<CODE>".
func Define(code string, kind Kind) *Problem {
	mu.Lock()
	defer mu.Unlock()
	if catalogue[code] != nil {
		panic("problem defined twice: " + code)
	}
	p := &Problem{Code: code, Kind: kind}
	catalogue[code] = p
	return p
}

// Catalogue lists all defined problems by code.
func Catalogue() []*Problem {
	mu.Lock()
	defer mu.Unlock()
	list := make([]*Problem, 0, len(catalogue))
	for _, p := range catalogue {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *Problem) int { return strings.Compare(a.Code, b.Code) })
	return list
}

// Error implements error.
func (p *Problem) Error() string {
	if p.cause != nil {
		return p.Code + ": " + p.cause.Error()
	}
	return p.Code
}

// Unwrap gives the cause, which is for the log only.
func (p *Problem) Unwrap() error { return p.cause }

// Is makes errors.Is compare by code.
func (p *Problem) Is(target error) bool {
	t, ok := target.(*Problem)
	return ok && t.Code == p.Code
}

// TextKey is the key of the problem's text.
func (p *Problem) TextKey() string { return "problem." + p.Code }

// With returns a copy with parameters for the text, given as name and value in turn.
func (p *Problem) With(pairs ...any) *Problem {
	c := *p
	c.Params = make(map[string]any, len(p.Params)+len(pairs)/2)
	for k, v := range p.Params {
		c.Params[k] = v
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		c.Params[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return &c
}

// After returns a copy that tells how long to wait; the text may use {{.Seconds}}, rounded up.
func (p *Problem) After(d time.Duration) *Problem {
	seconds := max(1, int((d+time.Second-1)/time.Second))
	c := p.With("Seconds", seconds)
	c.RetryAfter = time.Duration(seconds) * time.Second
	return c
}

// Because returns a copy with a cause for the log.
func (p *Problem) Because(cause error) *Problem {
	c := *p
	c.cause = cause
	return &c
}

// Find returns the Problem in err's chain, if there is one.
func Find(err error) (*Problem, bool) {
	var p *Problem
	ok := errors.As(err, &p)
	return p, ok
}
