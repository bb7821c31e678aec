package redisbackend

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey-go/latchkey/rp/store"
)

// call runs do and returns when it does, or ctx ends. The client honours deadlines if it is told to (ContextTimeoutEnabled) and never a cancellation while it
// reads, so do is left behind then, until the client gives up. What do uses must be the caller's no more.
func call[T any](ctx context.Context, operation string, do func() (T, error)) (T, error) {
	type answer struct {
		value    T
		err      error
		panicked any
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, &failure{operation, err}
	}
	answered := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			a.panicked = recover() // a hook's: it is the caller's to deal with, not the process's end
			answered <- a
		}()
		a.value, a.err = do()
	}()
	select {
	case a := <-answered:
		switch {
		case a.panicked != nil:
			panic(a.panicked)
		case a.err == nil:
			return a.value, nil
		case errors.Is(a.err, store.ErrConflict):
			return none, store.ErrConflict
		case ctx.Err() != nil && !errors.Is(a.err, ctx.Err()):
			return none, &failure{operation, fmt.Errorf("%w: %w", ctx.Err(), a.err)}
		}
		return none, &failure{operation, a.err}
	case <-ctx.Done():
		return none, &failure{operation, ctx.Err()}
	}
}

// failure is an error of an operation, without what Redis repeats of a command that it refuses: its key and the beginning of its data.
type failure struct {
	operation string
	err       error
}

func (f *failure) Error() string {
	text, _, _ := strings.Cut(f.err.Error(), ", with args")
	return "redisbackend: " + f.operation + ": " + text
}

// Unwrap returns the client's error as it is.
func (f *failure) Unwrap() error { return f.err }
