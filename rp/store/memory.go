package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Memory is a Backend in this process, for tests, for developing what will run on a shared one, and for what one process alone needs.
// It is safe for concurrent use.
type Memory struct {
	mu     sync.Mutex
	max    int
	items  map[Key]Item
	owners map[Key]map[Key]struct{}
}

// NewMemory returns an empty backend of at most max items; zero or less: 1,000,000. A full one refuses new items, and loses none.
func NewMemory(max int) *Memory {
	if max <= 0 {
		max = 1_000_000
	}
	return &Memory{max: max, items: map[Key]Item{}, owners: map[Key]map[Key]struct{}{}}
}

// Get implements Backend.
func (b *Memory) Get(ctx context.Context, keys ...Key) ([]Item, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	items := make([]Item, len(keys))
	for i, key := range keys {
		items[i] = b.find(key)
	}
	return items, nil
}

// find returns the item that has not ended. It is called with the lock held, as are all below.
func (b *Memory) find(key Key) Item {
	item, found := b.items[key]
	if found && item.ended(time.Now()) {
		b.drop(key)
		return Item{}
	}
	return item
}

func (b *Memory) drop(key Key) {
	owner := b.items[key].Owner
	delete(b.items, key)
	if delete(b.owners[owner], key); len(b.owners[owner]) == 0 {
		delete(b.owners, owner)
	}
}

// Put implements Backend.
func (b *Memory) Put(ctx context.Context, key Key, item Item, from uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if item.Version == 0 {
		return fmt.Errorf("store: an item of version zero can't be put")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.find(key).Version != from {
		return ErrConflict
	}
	if from == 0 && len(b.items) >= b.max {
		b.sweep(b.max)
		if len(b.items) >= b.max {
			return fmt.Errorf("store: the Memory is full with %d items", b.max)
		}
	}
	b.drop(key)
	if item.ended(time.Now()) {
		return nil
	}
	b.items[key] = item
	if item.Owner != (Key{}) {
		if b.owners[item.Owner] == nil {
			b.owners[item.Owner] = map[Key]struct{}{}
		}
		b.owners[item.Owner][key] = struct{}{}
	}
	return nil
}

// Delete implements Backend.
func (b *Memory) Delete(ctx context.Context, key Key, version uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if item := b.find(key); item.Version != 0 && (version == 0 || item.Version == version) {
		b.drop(key)
	}
	return nil
}

// List implements Backend.
func (b *Memory) List(ctx context.Context, owner Key, limit int) ([]Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var keys []Key
	for key := range b.owners[owner] {
		if len(keys) >= limit {
			break
		}
		if b.find(key).Version != 0 {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Sweep implements Sweeper.
func (b *Memory) Sweep(ctx context.Context, limit int) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sweep(limit), nil
}

func (b *Memory) sweep(limit int) (n int) {
	now := time.Now()
	for key, item := range b.items {
		if n >= limit {
			break
		}
		if item.ended(now) {
			b.drop(key)
			n++
		}
	}
	return n
}

// Len returns the number of items, ended ones not yet swept up included.
func (b *Memory) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.items)
}

// String tells how many items there are.
func (b *Memory) String() string {
	return fmt.Sprintf("store.Memory(%d items)", b.Len())
}

// GoString is String.
func (b *Memory) GoString() string { return b.String() }
