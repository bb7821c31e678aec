package bearer

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/latchkey-go/latchkey/internal/fetch"
	"github.com/latchkey-go/latchkey/rp/clientauth"
)

// Introspection asks the issuer about tokens (RFC 7662). It redacts its secret when printed.
//
// Who can't be asked, or answers what can't be used, is ErrUnavailable: nothing is known about the token. What the answer says is held against this API as
// a JWT's claims are: iss, aud, exp, nbf, the kind of token, cnf. Profile.Marks and Profile.Optional are for JWTs only.
// 64 tokens at most are asked about at once; requests with the same token share one call.
type Introspection struct {
	// ClientID and ClientSecret are this API's own at the issuer; with Auth nil they are sent by client_secret_basic, or client_secret_post when the
	// metadata lists that and not basic.
	ClientID, ClientSecret string
	// Auth is any other client authentication, in place of ClientSecret.
	Auth clientauth.Method
	// Endpoint is where to ask; the metadata is not looked at then. Empty: the introspection_endpoint of the metadata.
	Endpoint string
	// Signed asks for a signed answer (RFC 9701), and takes no other. It must be for ClientID.
	Signed bool
	// NoAudience accepts answers that name no audience: the issuer alone then decides whose tokens this API may ask about (RFC 7662 section 4).
	// An audience that is named must be this API's all the same.
	NoAudience bool
	// JWTs asks about JWTs too, after their signature and claims have been checked, so that a revocation shows at once (less MaxAge). What the answer says
	// then counts over what the JWT says, but sub and client_id must be the same; what it leaves out stays.
	JWTs bool
	// MaxAge is how long a good answer is used, at most until the token's exp, and Config.Cache's MaxAge. Zero: 60 seconds; negative: for one request.
	MaxAge time.Duration
	// MaxNegativeAge is how long a token is refused without asking again. Zero: 10 seconds; negative: for one request.
	MaxNegativeAge time.Duration
}

const (
	defaultMaxAnswerAge   = time.Minute
	defaultMaxNegativeAge = 10 * time.Second
)

// String names the client, and no secret.
func (in Introspection) String() string {
	return fmt.Sprintf("bearer.Introspection{ClientID: %q, Signed: %t}", in.ClientID, in.Signed)
}

// Format prints String for every verb.
func (in Introspection) Format(f fmt.State, _ rune) { io.WriteString(f, in.String()) }

// LogValue is String.
func (in Introspection) LogValue() slog.Value { return slog.StringValue(in.String()) }

// introspector asks one issuer. It is safe for concurrent use.
type introspector struct {
	cfg          Introspection // without ClientSecret
	issuer       *issuer
	client       *http.Client
	basic, post  clientauth.Method // nil: cfg.Auth is
	loopbackHTTP bool
	log          *slog.Logger
	flights      *flights // of tokens that anybody may have made up
	verified     *flights // of JWTs: a flood of the others is not in their way
}

// newIntrospector checks is.Introspection and does no I/O.
func newIntrospector(cfg *Config, is *issuer) (*introspector, error) {
	i := &introspector{cfg: *is.Introspection, issuer: is.asked(), loopbackHTTP: cfg.InsecureLoopbackHTTP || is.Discovery.InsecureLoopbackHTTP, log: cfg.Logger}
	in := &i.cfg
	if err := in.check(is, i.loopbackHTTP); err != nil {
		return nil, err
	}
	if in.MaxAge == 0 {
		in.MaxAge = defaultMaxAnswerAge
	}
	if !cfg.Cache.Off {
		in.MaxAge = min(in.MaxAge, cfg.Cache.MaxAge)
	}
	if in.MaxNegativeAge == 0 {
		in.MaxNegativeAge = defaultMaxNegativeAge
	}
	i.client = fetch.Client(cfg.HTTPClient, fetch.DefaultTimeout)
	if i.client.Transport == nil {
		i.client.Transport = http.DefaultTransport
	}
	if t, ok := in.Auth.(clientauth.Transporter); ok {
		i.client.Transport = t.Transport(i.client.Transport)
	}
	if in.Auth == nil {
		i.basic, i.post = clientauth.Basic(in.ClientSecret), clientauth.Post(in.ClientSecret)
		in.ClientSecret = ""
	}
	linger := min(in.MaxAge, settling)
	if cfg.Cache.Off {
		linger = 0
	}
	i.flights, i.verified = newFlights(linger, in.MaxNegativeAge), newFlights(linger, in.MaxNegativeAge)
	return i, nil
}

// asked is is with the rules of an answer: RFC 7662 section 2.2 names its members, and the profile's names, which are those of JWTs, may be there besides.
func (is *issuer) asked() *issuer {
	answers, r := *is, *is.rules
	r.Marks = nil
	r.ClientID = append([]string{"client_id"}, r.ClientID...)
	r.Scope = append([]string{"scope"}, r.Scope...)
	answers.rules = &r
	return &answers
}

func (in *Introspection) check(is *issuer, loopbackHTTP bool) error {
	switch {
	case is.tenants:
		return errors.New("Introspection can't be asked where Issuer has {tenantid}: a token that is no JWT names no tenant")
	case in.Auth == nil && in.ClientSecret == "":
		return errors.New("Introspection.ClientSecret is missing; it is this API's own at the issuer, or set Auth")
	case in.Auth != nil && in.ClientSecret != "":
		return errors.New("Introspection has both ClientSecret and Auth; decide for one")
	case in.ClientID == "" && (in.Auth == nil || needsClientID(in.Auth.Name())):
		return errors.New("Introspection.ClientID is missing; it is this API's own at the issuer")
	case in.ClientID == "" && in.Signed:
		return errors.New("Introspection.ClientID is missing; it is the audience of signed answers (RFC 9701 section 5)")
	}
	if in.Endpoint != "" {
		if err := fetch.CheckURL(in.Endpoint, loopbackHTTP); err != nil {
			return fmt.Errorf("Introspection.Endpoint: %w", err)
		}
	}
	return nil
}

// needsClientID: other methods, such as a bearer token or none at an internal port, can do without (RFC 7662 section 2.1).
func needsClientID(method string) bool {
	switch method {
	case "client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth":
		return true
	}
	return false
}
