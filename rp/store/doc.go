// Package store is where processes keep what they share, and the keys that seal it. rp.TokenStore keeps tokens of background jobs in it, session.ServerStore sessions.
//
//	ring, err := store.KeyringFromFile("/etc/app/keys") // openssl rand -base64 32
//	backend, err := store.NewFile("/var/lib/app/tokens") // or store.NewMemory(0), redisbackend.New(...), sqlbackend.New(...)
//
// A Backend sees hashes and sealed values only; a Keyring's keys may change while the program runs.
package store
