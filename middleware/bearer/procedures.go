package bearer

import (
	"context"
	"slices"
	"strings"
)

// Procedures says what the procedures of RPC services ask of a token, for interceptors. Names are those of gRPC: "/package.Service/Method" for a procedure,
// "/package.Service/" for a service, "" for all others; the most particular entry counts, alone.
type Procedures struct {
	// Rules are what procedures ask of a good token. One without an entry is refused, since what nobody thought of is not open; an empty list asks for a good token and
	// nothing more.
	Rules map[string][]Rule
	// Public are procedures and services that need no token: health checks, say. None is looked at there.
	Public []string
}

// IsPublic reports whether procedure needs no token.
func (p Procedures) IsPublic(procedure string) bool {
	return slices.ContainsFunc(p.Public, func(name string) bool { return name != "" && (name == procedure || name == service(procedure)) })
}

// For returns the rules of procedure; one that allows nobody where there are none.
func (p Procedures) For(procedure string) []Rule {
	for _, name := range [...]string{procedure, service(procedure), ""} {
		if rules, found := p.Rules[name]; found {
			return rules
		}
	}
	return []Rule{{check: func(*Token) error { return &ForbiddenError{Reason: "no rule allows this method"} }}}
}

// service is the part of a procedure's name that ends with its last slash.
func service(procedure string) string { return procedure[:strings.LastIndexByte(procedure, '/')+1] }

// Call judges a call by its authorization values (see FromAuthorization) and the procedure's rules. Errors: those of FromAuthorization, Verify and Authorize,
// for Failure with the same rules.
func (v *Verifier) Call(ctx context.Context, authorization []string, rules ...Rule) (*Token, error) {
	raw, err := FromAuthorization(authorization)
	if err != nil {
		return nil, err
	}
	t, err := v.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	return t, Authorize(t, rules...)
}
