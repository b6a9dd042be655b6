package api

import (
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// authenticate lets the right callers through. A public operation does not look at the token at all.
func (a *API) authenticate(access Access) func(huma.Context, func(huma.Context)) {
	depth := Confirmed
	if access == CustomerUnconfirmed {
		depth = SignatureOnly
	}
	return func(ctx huma.Context, next func(huma.Context)) {
		if access == Public || access == Provider {
			next(ctx)
			return
		}
		token, ok := bearer(ctx.Header("Authorization"))
		if !ok {
			a.rejectOperation(ctx, ErrUnauthenticated)
			return
		}
		withCustomer, caller, err := a.CheckToken(ctx.Context(), token, depth)
		if err != nil {
			a.rejectOperation(ctx, err)
			return
		}
		if wait := a.byCaller.wait(caller, time.Now()); wait > 0 {
			a.rejectOperation(ctx, ErrTooManyRequests.After(wait))
			return
		}
		requestFrom(withCustomer).caller = caller
		next(huma.WithContext(ctx, withCustomer))
	}
}

// bearer reads the token of an Authorization header; the scheme's case does not matter (RFC 9110 section 11.1).
func bearer(header string) (string, bool) {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	token = strings.TrimSpace(token)
	return token, token != "" && len(token) <= 4096
}
