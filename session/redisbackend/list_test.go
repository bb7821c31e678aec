//go:build unix

package redisbackend_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/session"
	"github.com/redis/go-redis/v9"
)

// halved sends the first pipeline in two halves, and runs something before them or between: a Cluster's nodes answer one after the other, too.
type halved struct {
	before, between func()
}

func (h *halved) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *halved) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *halved) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		before, between := h.before, h.between
		h.before, h.between = nil, nil
		if before != nil {
			before()
		}
		if between == nil {
			return next(ctx, cmds)
		}
		if err := next(ctx, cmds[:1]); err != nil {
			return err
		}
		between()
		return next(ctx, cmds[1:])
	}
}

// A session is put in its new place before the old one is given up, so a list has it wherever it looks at each.
func TestAListHasWhatMovesBetweenItsSteps(t *testing.T) {
	for _, known := range []bool{false, true} { // whether the index has the new place when the list begins
		s := startServer(t)
		b, client, owner, old, fresh := backendOn(t, s.client()), s.client(), session.Key{2}, session.Key{3}, session.Key{4}
		item := itemOf("x", 1)
		item.Owner = owner
		if known { // as a Put leaves it between its two steps
			client.HSet(t.Context(), ownerName(owner), fresh[:], entry(item.Expires, time.Now()))
		}
		mustPut(t, b, old, item, 0)
		move := func() {
			mustPut(t, b, fresh, item, 0)
			mustPut(t, b, old, itemOf("moved", 2), 1)
		}
		h := &halved{before: move}
		if known {
			h = &halved{between: move}
		}
		client.AddHook(h)
		keys, err := backendOn(t, client).List(t.Context(), owner, 10)
		if err != nil || !slices.Equal(keys, []session.Key{fresh}) {
			t.Errorf("known %t: %d keys, %v; want the new place", known, len(keys), err)
		}
	}
}
