package bench

import (
	"context"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// BenchmarkIDToken verifies one ID token with warm keys: the same go-oidc verifier over its RemoteKeySet and over ours.
func BenchmarkIDToken(b *testing.B) {
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		provider := rptest.Start(b, rptest.Options{SigningAlg: alg})
		manager, _, same := loginAt(b, provider, alg, nil)
		_ = manager
		published, err := discovery.New(discovery.Config{Issuer: provider.Issuer(), InsecureLoopbackHTTP: true})
		if err != nil {
			b.Fatal(err)
		}
		config := &oidc.Config{ClientID: provider.ClientID(), SupportedSigningAlgs: []string{alg}}
		for name, keys := range map[string]oidc.KeySet{
			"latchkey KeySet":      published.KeySet(alg),
			"go-oidc RemoteKeySet": oidc.NewRemoteKeySet(context.Background(), provider.Issuer()+"/jwks"),
		} {
			verifier := oidc.NewVerifier(provider.Issuer(), keys, config)
			b.Run(alg+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := verifier.Verify(context.Background(), same.IDToken); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(alg+"/"+name+"/signature", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := keys.VerifySignature(context.Background(), same.IDToken); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
