package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey-go/latchkey/examples/internal/program"
	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// profiles are the providers whose access tokens differ from RFC 9068.
var profiles = map[string]func() bearer.Profile{
	"rfc9068": func() bearer.Profile { return bearer.Profile{} },
	"adfs":    bearer.ADFS, "auth0": bearer.Auth0, "azureb2c": bearer.AzureB2C, "cognito": bearer.Cognito, "entra": bearer.Entra, "entrav1": bearer.EntraV1,
	"github": bearer.GitHubActions, "hydra": bearer.Hydra, "keycloak": bearer.Keycloak, "kubernetes": bearer.Kubernetes, "okta": bearer.Okta, "zitadel": bearer.ZITADEL,
}

// run serves the API until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	var cfg bearer.Config
	var addr, profile, caFile string
	flags := flag.NewFlagSet("api", flag.ContinueOnError)
	flags.StringVar(&addr, "addr", "127.0.0.1:8081", "`address` to listen on")
	flags.StringVar(&cfg.Issuer, "issuer", "", "the exact issuer `URL` of the tokens; none: an embedded provider")
	flags.StringVar(&cfg.Audience, "audience", "", "this API's `name` in the aud of its tokens")
	flags.StringVar(&profile, "profile", "rfc9068", "`whose` tokens they are: "+strings.Join(slices.Sorted(maps.Keys(profiles)), ", "))
	flags.StringVar(&caFile, "ca-file", "", "PEM `file` of certificate authorities to trust for the provider")
	flags.BoolVar(&cfg.InsecureLoopbackHTTP, "insecure-http", false, "accept a provider at an http URL on a loopback address")
	if err := program.Parse(flags, args, out, "An API guarded by bearer tokens. Without -issuer it brings its own provider."); err != nil {
		return err
	}
	if err := check(addr, &cfg, profile); err != nil {
		return program.UsageError{Err: err}
	}
	var err error
	if cfg.HTTPClient, err = program.Client(caFile); err != nil {
		return program.UsageError{Err: err}
	}
	listener, err := program.Listen(addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	url, embedded := "http://"+program.Reach(listener.Addr()), cfg.Issuer == ""
	if embedded {
		stop, err := embed(&cfg, url)
		if err != nil {
			return err
		}
		defer stop()
	}
	handler, err := service(cfg)
	if err != nil {
		return program.UsageError{Err: err} // what the constructor refuses is a setting
	}
	announce(out, url, cfg.Issuer, embedded)
	return program.Serve(ctx, listener, handler)
}

func check(addr string, cfg *bearer.Config, profile string) error {
	if err := program.CheckAddr(addr); err != nil {
		return err
	}
	named := profiles[strings.ToLower(profile)]
	if named == nil {
		return fmt.Errorf("-profile %q is unknown; choose one of %s", profile, strings.Join(slices.Sorted(maps.Keys(profiles)), ", "))
	}
	cfg.Profile = named()
	switch {
	case cfg.Issuer == "" && (cfg.Audience != "" || strings.ToLower(profile) != "rfc9068"):
		return errors.New("-audience and -profile need -issuer; leave them out to use the embedded provider")
	case cfg.Issuer == "":
		return nil
	case cfg.Audience == "":
		return errors.New("-issuer needs -audience: this API's name in the aud of its tokens; without it any API's token would open this one")
	}
	return program.CheckIssuer(cfg.Issuer, cfg.InsecureLoopbackHTTP)
}

// embed starts a provider whose client may have every scope.
func embed(cfg *bearer.Config, audience string) (stop func(), err error) {
	cfg.Audience, cfg.InsecureLoopbackHTTP = audience, true
	cfg.Issuer, stop, err = program.Embed(func(string) rptest.Options {
		return rptest.Options{
			Clients:         []rptest.Client{{ID: "shop", Secret: "shop-secret"}},
			JWTAccessTokens: true,
			Audience:        audience,
		}
	})
	return stop, err
}

func announce(out io.Writer, url, issuer string, embedded bool) {
	if !embedded {
		fmt.Fprintf(out, "Listening on %s for tokens of %s. Try it:\n\n  curl -i %s/orders\n  curl -i -H \"Authorization: Bearer $TOKEN\" %s/orders\n", url, issuer, url, url)
		return
	}
	fmt.Fprintf(out, `Listening on %[1]s for tokens of the embedded provider. Try it in another terminal:

  token() { curl -s -u shop:shop-secret -d grant_type=client_credentials -d scope="$1" %[2]s/token | sed 's/.*"access_token":"\([^"]*\)".*/\1/'; }

  curl -i -H "Authorization: Bearer $(token orders:read)" %[1]s/orders    # 200
  curl -i %[1]s/orders                                                    # 401, no token
  curl -i -H "Authorization: Bearer nonsense" %[1]s/orders                # 401, a bad one
  curl -i -H "Authorization: Bearer $(token orders:write)" %[1]s/orders   # 403, the wrong scope
  curl -i %[1]s/healthz                                                   # 200, open to all
`, url, issuer)
}
