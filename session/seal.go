package session

import (
	"errors"

	"github.com/latchkey-go/latchkey/rp/store"
)

// sealer is a store.Sealer for values that are a record or none: what doesn't open is errNoRecord.
type sealer struct{ *store.Sealer }

// sealers makes several at once.
func sealers(ring *Keyring, owner string, made map[string]**sealer) error {
	for purpose, to := range made {
		s, err := ring.Sealer(owner, purpose)
		if err != nil {
			return err
		}
		*to = &sealer{s}
	}
	return nil
}

func (s *sealer) seal(dst, plain []byte, bound string) []byte {
	return s.Seal(dst, plain, []byte(bound))
}

func (s *sealer) open(dst, sealed []byte, bound string) ([]byte, error) {
	return s.openBound(dst, sealed, []byte(bound))
}

// openBound is open for callers that keep bound as bytes, which saves them a copy.
func (s *sealer) openBound(dst, sealed, bound []byte) ([]byte, error) {
	plain, err := s.Open(dst, sealed, bound)
	if errors.Is(err, store.ErrSealed) {
		err = errNoRecord
	}
	return plain, err
}
