package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
)

// errPanic is what those hear who waited for a refresh in which foreign code panicked.
var errPanic = errors.New("session: a store, ledger or transport panicked during a refresh; the log has the stack")

// contained runs f and reports whether it came to its end. A refresh runs foreign code (stores, ledgers, transports) in a goroutine of its own, where a panic would end the
// process; in a handler's net/http would contain it. Of the panic's value only the type is logged, unless the runtime made it: it may hold a token.
func contained(ctx context.Context, log *slog.Logger, f func()) (ended bool) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		what := fmt.Sprintf("%T", p)
		if fault, ok := p.(runtime.Error); ok {
			what = fault.Error()
		}
		log.LogAttrs(ctx, slog.LevelError, "session: panic in a refresh", slog.String("panic", what), slog.String("stack", string(debug.Stack())))
	}()
	f()
	return true
}
