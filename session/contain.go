package session

import (
	"context"
	"errors"
	"log/slog"

	"github.com/latchkey-go/latchkey/internal/contain"
)

// errPanic is what those hear who waited for a refresh in which foreign code panicked.
var errPanic = errors.New("session: a store, ledger or transport panicked during a refresh; the log has the stack")

// contained runs a part of a refresh, which has a goroutine of its own, and reports whether it came to its end.
func contained(ctx context.Context, log *slog.Logger, f func()) (ended bool) {
	return contain.Run(ctx, log, "session: panic in a refresh", f)
}
