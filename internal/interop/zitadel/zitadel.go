// Package zitadel runs the example provider of zitadel/oidc in this process, on a loopback port.
package zitadel

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/latchkey-go/latchkey/internal/interop/visitor"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Provider is a running example provider.
type Provider struct {
	issuer string
	store  *store
}

// Start runs one until the test ends. Its issuer ends with a slash, as the example's own does.
func Start(t testing.TB) *Provider {
	t.Helper()
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	p := &Provider{issuer: server.URL + "/"}
	p.store = &store{
		Storage: storage.NewStorageWithClients(storage.NewUserStore(p.issuer), map[string]*storage.Client{}),
		clients: map[string]registered{},
	}
	if err := p.store.rotate(false); err != nil {
		t.Fatal(err)
	}
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	handler = exampleop.SetupServer(p.issuer, p.store, slog.New(slog.DiscardHandler), false)
	return p
}

func (p *Provider) Issuer() string { return p.issuer }

// Client is what Register needs to know.
type Client struct {
	ID, Secret     string // without a Secret the client is public
	AuthMethod     string // client_secret_basic, client_secret_post or none
	RedirectURI    string
	AfterLogoutURI string
	JWT            bool // access tokens are JWTs; else they are opaque
}

// Register makes a client known.
func (p *Provider) Register(c Client) {
	made := registered{secret: c.Secret, method: oidc.AuthMethod(c.AuthMethod), afterLogout: []string{c.AfterLogoutURI}, jwt: c.JWT}
	if c.Secret == "" {
		made.Client = storage.NativeClient(c.ID, c.RedirectURI)
	} else {
		made.Client = storage.WebClient(c.ID, c.Secret, c.RedirectURI)
	}
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	p.store.clients[c.ID] = made
}

// Rotate signs with a new key from now on; drop takes the old ones from the published set.
func (p *Provider) Rotate(t testing.TB, drop bool) {
	t.Helper()
	if err := p.store.rotate(drop); err != nil {
		t.Fatal(err)
	}
}

// SignIn fills in the provider's login page.
func (p *Provider) SignIn(t testing.TB, page *visitor.Page) *visitor.Page {
	t.Helper()
	return page.Submit(map[string]string{"username": "test-user2", "password": "verysecure"})
}

// store is the example's storage with clients of ours, and with keys which can change.
type store struct {
	*storage.Storage
	mu      sync.Mutex
	clients map[string]registered
	keys    []key // the first signs
}

type registered struct {
	*storage.Client
	secret      string
	method      oidc.AuthMethod
	afterLogout []string
	jwt         bool
}

func (c registered) AuthMethod() oidc.AuthMethod      { return c.method }
func (c registered) PostLogoutRedirectURIs() []string { return c.afterLogout }

func (c registered) AccessTokenType() op.AccessTokenType {
	if c.jwt {
		return op.AccessTokenTypeJWT
	}
	return op.AccessTokenTypeBearer
}

func (s *store) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.clients[id]; ok {
		return c, nil
	}
	return nil, errors.New("no such client")
}

func (s *store) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.clients[id]; ok && c.secret == secret {
		return nil
	}
	return errors.New("wrong secret")
}

func (s *store) rotate(drop bool) error {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if drop {
		s.keys = nil
	}
	s.keys = slices.Insert(s.keys, 0, key{rand.Text(), private})
	return nil
}

func (s *store) SigningKey(context.Context) (op.SigningKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[0], nil
}

func (s *store) KeySet(context.Context) ([]op.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var published []op.Key
	for _, k := range s.keys {
		published = append(published, publicKey{k})
	}
	return published, nil
}

type key struct {
	id      string
	private *rsa.PrivateKey
}

func (k key) ID() string                                  { return k.id }
func (k key) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k key) Key() any                                    { return k.private }

type publicKey struct{ key }

func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Key() any                           { return &k.private.PublicKey }
