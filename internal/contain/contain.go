// Package contain keeps a panic in foreign code (stores, ledgers, transports) that runs in a goroutine of ours from ending the process. In a handler net/http would contain it.
package contain

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
)

// Run runs f and reports whether it came to its end. Of a panic's value only the type is logged, under message, unless the runtime made it: it may hold a token.
func Run(ctx context.Context, log *slog.Logger, message string, f func()) (ended bool) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		what := fmt.Sprintf("%T", p)
		if fault, ok := p.(runtime.Error); ok {
			what = fault.Error()
		}
		log.LogAttrs(ctx, slog.LevelError, message, slog.String("panic", what), slog.String("stack", string(debug.Stack())))
	}()
	f()
	return true
}
