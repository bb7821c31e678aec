package bench

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	auth0jwks "github.com/auth0/go-jwt-middleware/v2/jwks"
	auth0validator "github.com/auth0/go-jwt-middleware/v2/validator"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/httprc/v3"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwxjwt "github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	zitadeloidc "github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

func goOIDC(is *issuer) verify {
	keys := oidc.NewRemoteKeySet(context.Background(), is.url+"keys")
	v := oidc.NewVerifier(is.url, keys, &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{is.alg}})
	return func(raw string) (app application, err error) {
		t, err := v.Verify(context.Background(), raw)
		if err != nil {
			return app, err
		}
		return app, t.Claims(&app)
	}
}

// zitadel's verifier of access tokens leaves the audience to its user.
func zitadel(is *issuer) verify {
	v := op.NewAccessTokenVerifier(is.url, rp.NewRemoteKeySet(http.DefaultClient, is.url+"keys"), op.WithSupportedAccessTokenSigningAlgorithms(is.alg))
	return func(raw string) (app application, err error) {
		t, err := op.VerifyAccessToken[*zitadelClaims](context.Background(), raw, v)
		if err != nil {
			return app, err
		}
		if t.CheckAudience(audience) != nil {
			return app, errors.New("another audience")
		}
		return t.application, nil
	}
}

type zitadelClaims struct {
	zitadeloidc.TokenClaims
	application
}

func (c *zitadelClaims) CheckAudience(want string) error {
	return zitadeloidc.CheckAudience(c, want)
}

func keyfuncJWT(tb testing.TB, is *issuer) verify {
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(cancel)
	k, err := keyfunc.NewDefaultCtx(ctx, []string{is.url + "keys"})
	if err != nil {
		tb.Fatal(err)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{is.alg}), jwt.WithIssuer(is.url), jwt.WithAudience(audience), jwt.WithExpirationRequired())
	return func(raw string) (application, error) {
		var claims struct {
			jwt.RegisteredClaims
			application
		}
		_, err := parser.ParseWithClaims(raw, &claims, k.Keyfunc)
		return claims.application, err
	}
}

func jwxCache(tb testing.TB, is *issuer) verify {
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(cancel)
	cache, err := jwk.NewCache(ctx, httprc.NewClient())
	if err != nil {
		tb.Fatal(err)
	}
	if err := cache.Register(ctx, is.url+"keys"); err != nil {
		tb.Fatal(err)
	}
	keys, err := cache.CachedSet(is.url + "keys")
	if err != nil {
		tb.Fatal(err)
	}
	return func(raw string) (app application, err error) {
		t, err := jwxjwt.Parse([]byte(raw), jwxjwt.WithKeySet(keys), jwxjwt.WithIssuer(is.url), jwxjwt.WithAudience(audience), jwxjwt.WithValidate(true))
		if err != nil {
			return app, err
		}
		var groups []any
		if err := errors.Join(t.Get("email", &app.Email), t.Get("plan", &app.Plan), t.Get("groups", &groups)); err != nil {
			return app, err
		}
		for _, g := range groups {
			app.Groups = append(app.Groups, g.(string))
		}
		return app, nil
	}
}

func auth0(tb testing.TB, is *issuer) verify {
	at, err := url.Parse(is.url)
	if err != nil {
		tb.Fatal(err)
	}
	keys := auth0jwks.NewCachingProvider(at, 5*time.Minute)
	v, err := auth0validator.New(keys.KeyFunc, auth0validator.SignatureAlgorithm(is.alg), is.url, []string{audience},
		auth0validator.WithCustomClaims(func() auth0validator.CustomClaims { return &auth0Claims{} }))
	if err != nil {
		tb.Fatal(err)
	}
	return func(raw string) (app application, err error) {
		t, err := v.ValidateToken(context.Background(), raw)
		if err != nil {
			return app, err
		}
		return t.(*auth0validator.ValidatedClaims).CustomClaims.(*auth0Claims).application, nil
	}
}

type auth0Claims struct{ application }

func (*auth0Claims) Validate(context.Context) error { return nil }
