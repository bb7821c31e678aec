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

// Sweep implements store.Sweeper, in statements of at most 200 rows. It returns how many it has removed also when one of them fails.
func (b *Backend) Sweep(ctx context.Context, limit int) (removed int, err error) {
	now := time.Now().UnixMilli()
	for removed < limit {
		batch, n := min(sweepBatch, limit-removed), 0
		if err := b.retry(ctx, "sweep", func() (err error) {
			n, err = b.sweep(ctx, now, batch)
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

func (b *Backend) sweep(ctx context.Context, now int64, limit int) (int, error) {
	text, args := b.text.sweep, []any{now, limit}
	if b.dialect == MySQL {
		// DELETE … ORDER BY expires LIMIT would lock the index before the rows, and the gap behind them: updates lock in the other order, and inserts wait for
		// the gap. So the keys are read without a lock, and the rows removed by them, in the order of all other statements.
		keys, err := b.keys(ctx, b.text.ended, now, limit)
		if err != nil || len(keys) == 0 {
			return 0, err
		}
		slices.SortFunc(keys, func(x, y store.Key) int { return bytes.Compare(x[:], y[:]) })
		text, args = b.text.sweepKeys(len(keys)), make([]any, 0, len(keys)+1)
		for i := range keys {
			args = append(args, keys[i][:])
		}
		args = append(args, now)
	}
	result, err := b.db.ExecContext(ctx, text, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}
