package rp

import (
	"context"
	"encoding/json"

	"github.com/latchkey-go/latchkey/internal/jws"
)

// verifiedJWT is a token whose form and signature have been checked; what its claims mean has not.
type verifiedJWT struct {
	header  jws.Header
	payload []byte
	claims  map[string]json.RawMessage // by exact name; payload has passed strictjson
}

// verifyJWT checks form, header (crit, algorithm list) and signature of raw and reads its claims strictly.
// kind names the token in errors: "ID token", "UserInfo". Errors: *TokenError or ErrUnavailable.
func (c *Client) verifyJWT(ctx context.Context, raw, kind string, algs []string) (*verifiedJWT, error) {
	panic("todo")
}

// signingAlgs is the list of algorithms a token of the provider may be signed with: the registered one; else RS256 when
// listed says so or says nothing; else the asymmetric ones of listed.
func (c *Client) signingAlgs(registered string, listed []string) ([]string, error) { panic("todo") }
