package sqlbackend_test

import (
	"crypto/rand"
	"time"

	"github.com/latchkey-go/latchkey/session"
)

// newKey is a random one.
func newKey() (key session.Key) {
	rand.Read(key[:])
	return key
}

func sealedItem(version uint64) session.Item {
	data := make([]byte, 3000) // as a session of some tokens is
	rand.Read(data)
	return session.Item{Data: data, Version: version, Expires: time.Now().Add(time.Hour), Owner: newKey()}
}
