package store

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
)

// Keyring holds the keys that seal cookies, stored sessions and stored tokens, and lets them change while the program runs: the first seals, all open. Everything made of it follows a Reload or Replace at once: a value is sealed and opened under the keys of before
// or under those of after, never under some of both.
//
// To rotate without losing a session or a login under way, on every replica one after the other:
//
//  1. add the new key at the end, and reload everywhere: all can open what it seals;
//  2. move it to the front, and reload everywhere: it seals, the old one still opens;
//  3. when what it sealed has ended (sessions: after session.Config.Lifetime; tokens: each refresh seals them anew) drop the old one, and reload.
//
// A key that leaked is dropped at once instead: what it sealed is over. A Keyring is safe for concurrent use, and printed it shows no key.
type Keyring struct {
	current atomic.Pointer[keySet]
	turn    sync.Mutex // of changes: a slow Reload must not overtake a later one
	source  func() ([][]byte, error)
	name    string // of the source
}

// keySet is what a Keyring holds at one moment; it never changes.
type keySet struct{ masters [][]byte }

var errNoKeyring = errors.New("store: an empty Keyring: make it with NewKeyring, KeyringFromFile or KeyringFromEnv")

// NewKeyring returns a Keyring of these keys: at least 32 random bytes each, the same on every replica. It has no source to Reload from; Replace changes it.
func NewKeyring(keys ...[]byte) (*Keyring, error) {
	k := &Keyring{}
	if err := k.Replace(keys...); err != nil {
		return nil, err
	}
	return k, nil
}

// sourcedKeyring reads its keys for the first time.
func sourcedKeyring(name string, source func() ([][]byte, error)) (*Keyring, error) {
	k := &Keyring{name: name, source: source}
	if err := k.Reload(); err != nil {
		return nil, err
	}
	return k, nil
}

// Reload reads the keys again from where they came from. An error says what is wrong there; then nothing has changed, and the keys of before go on. It is an error for
// a Keyring of NewKeyring.
func (k *Keyring) Reload() error {
	if k == nil || k.source == nil {
		return errors.New("store: Keyring.Reload: this Keyring has no source to read again; use Replace")
	}
	k.turn.Lock()
	defer k.turn.Unlock()
	keys, err := k.source()
	if err == nil {
		err = k.set(keys)
	}
	if err != nil {
		return fmt.Errorf("store: keys from %s: %w", k.name, err)
	}
	return nil
}

// Replace takes these keys in place of the ones there are, for a program that gets them from a service of its own: at least 32 random bytes each. After an error
// nothing has changed. A later Reload replaces them in turn.
func (k *Keyring) Replace(keys ...[]byte) error {
	if k == nil {
		return errNoKeyring
	}
	k.turn.Lock()
	defer k.turn.Unlock()
	if err := k.set(keys); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

func (k *Keyring) set(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("no key: give at least one of 32 random bytes, the same on every replica")
	}
	set := &keySet{masters: make([][]byte, len(keys))}
	for i, key := range keys {
		if err := checkKey(i, key); err != nil {
			return err
		}
		// What can't be made of a key here can't be made of it later, when nobody could be told.
		if _, err := deriveKey(key, "check"); err != nil {
			return fmt.Errorf("key %d: %w", i, err)
		}
		set.masters[i] = slices.Clone(key)
	}
	k.current.Store(set)
	return nil
}

// Len returns how many keys there are now.
func (k *Keyring) Len() int {
	if k == nil {
		return 0
	}
	set := k.current.Load()
	if set == nil {
		return 0
	}
	return len(set.masters)
}

// String tells how many keys there are, and where they come from.
func (k *Keyring) String() string {
	if k == nil || k.name == "" {
		return fmt.Sprintf("store.Keyring(%d keys)", k.Len())
	}
	return fmt.Sprintf("store.Keyring(%d keys from %s)", k.Len(), k.name)
}

// Format prints String for every verb.
func (k *Keyring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue is String.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }

// derived is what one use makes of each key of a Keyring, safe for concurrent use. It follows the Keyring without being told: whoever asks compares one pointer, and only the first to ask after a
// change derives anew.
type derived[K any] struct {
	ring *Keyring
	make func(master []byte) (K, error)
	made atomic.Pointer[derivedSet[K]]
}

type derivedSet[K any] struct {
	of   *keySet
	keys []K
}

// derive returns what make makes of each key of ring; the error is that of make, or that ring is empty.
func derive[K any](ring *Keyring, make func(master []byte) (K, error)) (*derived[K], error) {
	if ring.Len() == 0 {
		return nil, errNoKeyring
	}
	d := &derived[K]{ring: ring, make: make}
	_, err := d.renew(ring.current.Load())
	return d, err
}

func (d *derived[K]) renew(set *keySet) (*derivedSet[K], error) {
	fresh := &derivedSet[K]{of: set, keys: make([]K, len(set.masters))}
	for i, master := range set.masters {
		var err error
		if fresh.keys[i], err = d.make(master); err != nil {
			return nil, fmt.Errorf("store: key %d: %w", i, err)
		}
	}
	d.made.Store(fresh) // or an older one, by who was asleep; the next to ask sees that
	return fresh, nil
}

// all are the keys of this moment: the first seals, all open. A zero Sealer has none.
func (d *derived[K]) all() []K {
	if d == nil {
		return nil
	}
	made := d.made.Load()
	if set := d.ring.current.Load(); made.of != set {
		if fresh, err := d.renew(set); err == nil { // set has checked it
			made = fresh
		}
	}
	return made.keys
}

// ownedBy binds a key to an owner; the key itself for none.
func ownedBy(owner string, master []byte) ([]byte, error) {
	if owner == "" {
		return master, nil
	}
	return hkdf.Key(sha256.New, master, nil, owner, 32)
}
