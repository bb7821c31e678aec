package sqlbackend

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
)

// sweepBatch is how many rows one statement removes: it holds their locks, and SQLite's only one, for a few milliseconds.
const sweepBatch = 200

// sweepAge is how long ago what is removed has ended: by the clock of a replica that is ahead less, and then it is not ended yet for the others.
const sweepAge = time.Minute

// Sweep implements store.Sweeper, in statements of at most 200 rows. It leaves what has ended within the last minute. It returns how many it has removed also when one of them fails.
func (b *Backend) Sweep(ctx context.Context, limit int) (removed int, err error) {
	past := time.Now().Add(-sweepAge).UnixMilli()
	for removed < limit {
		batch, n := min(sweepBatch, limit-removed), 0
		if err := b.retry(ctx, "sweep", func() (err error) {
			n, err = b.sweep(ctx, past, batch)
			return err
		}); err != nil {
			return removed, err
		}
		if removed += n; n < batch {
			return removed, nil
		}
	}
	return removed, nil
}

func (b *Backend) sweep(ctx context.Context, past int64, limit int) (int, error) {
	text, args := b.text.sweep, []any{past, limit}
	if b.dialect == MySQL {
		// DELETE … ORDER BY expires LIMIT would lock the index before the rows, and the gap behind them: updates lock in the other order, and inserts wait for
		// the gap. So the keys are read without a lock, and the rows removed by them, in the order of all other statements.
		keys, err := b.keys(ctx, true, b.text.ended, past, limit)
		if err != nil || len(keys) == 0 {
			return 0, err
		}
		slices.SortFunc(keys, func(x, y store.Key) int { return bytes.Compare(x[:], y[:]) })
		text, args = b.text.sweepKeys(len(keys)), make([]any, 0, len(keys)+1)
		for i := range keys {
			args = append(args, keys[i][:])
		}
		args = append(args, past)
	}
	result, err := b.db.ExecContext(ctx, text, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}
