package bearer

import "context"

type contextKey struct{}

// FromContext returns the token of a request that Handler, Require or Optional let through; nil for none.
func FromContext(ctx context.Context) *Token {
	t, _ := ctx.Value(contextKey{}).(*Token)
	return t
}

// NewContext returns ctx with a token: for tests of handlers, and for other transports. A Token of your own has no claims but its fields.
func NewContext(ctx context.Context, t *Token) context.Context {
	return context.WithValue(ctx, contextKey{}, t)
}
