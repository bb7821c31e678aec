package session

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// An envelope is a record with the id and the end its keeper gave it, sealed together: the end in a cookie's attributes is the browser's business,
// and a copied cookie must not open after it. A byte of form, 16 of id, 8 of Unix seconds, the record.
const (
	envelopeForm   = 1
	envelopeID     = 16
	envelopeHeader = 1 + envelopeID + 8
)

func newEnvelopeID() (id keptID) {
	rand.Read(id[:envelopeID]) // never fails: crypto/rand ends the process instead
	return id
}

func appendEnvelope(b []byte, id keptID, expires time.Time, data []byte) []byte {
	b = append(b, envelopeForm)
	b = append(b, id[:envelopeID]...)
	b = binary.BigEndian.AppendUint64(b, uint64(expires.Unix()))
	return append(b, data...)
}

// openEnvelope fills k from b, which it keeps. errEnded: its end has come.
func openEnvelope(b []byte, k *kept) error {
	if len(b) < envelopeHeader || b[0] != envelopeForm {
		return errNoRecord
	}
	expires := time.Unix(int64(binary.BigEndian.Uint64(b[1+envelopeID:])), 0)
	if ends(expires) {
		return errEnded
	}
	*k = kept{data: b[envelopeHeader:], expires: expires}
	copy(k.id[:envelopeID], b[1:])
	return nil
}
