package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// forgeries are made of a good token and say what they are. Each is another text every time, so that no memory of the last one helps.
var forgeries = []struct {
	kind string
	make func(f *forger, good *token) string
}{
	{"bent signature", func(f *forger, good *token) string {
		return bend(good.raw, -10-f.n%40)
	}},
	{"bent payload", func(f *forger, good *token) string {
		return bend(good.raw, strings.IndexByte(good.raw, '.')+20+f.n%40)
	}},
	{"foreign key under a known kid", func(f *forger, good *token) string { return f.sign(good.kid) }},
	{"garbage", func(f *forger, _ *token) string { return "ey" + rand.Text() + "." + rand.Text() + "." + rand.Text() }},
	{"no JWT", func(f *forger, _ *token) string { return rand.Text() }},
	{"no credentials in the header", func(f *forger, _ *token) string { return "" }},
	{"alg none", func(f *forger, good *token) string {
		_, rest, _ := strings.Cut(good.raw, ".")
		payload, _, _ := strings.Cut(rest, ".")
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + payload + "."
	}},
}

// strangers send what costs the API a look at the provider's keys.
var strangers = []string{"random kid", "no kid"}

// strangersEvery so many forgers one sends nothing but those: each waits for the API's next look at the keys.
const strangersEvery = 4

type forger struct {
	config
	key *ecdsa.PrivateKey
	n   int
}

// forge sends forged tokens.
func forge(l *line, p *pool, end time.Time, i int, r *result) {
	r.forged = map[string]int{}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.add(Answer{Forged: "no key", Error: err.Error()})
		return
	}
	f := &forger{config: p.config, key: key, n: i}
	for ; ; f.n++ {
		sent := time.Now()
		if !sent.Before(end) {
			return
		}
		good := p.one(sent)
		if good == nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		var kind, raw string
		if i%strangersEvery == 0 {
			kind = strangers[f.n%len(strangers)]
			raw = f.sign(map[string]string{"random kid": rand.Text(), "no kid": ""}[kind])
		} else {
			made := forgeries[f.n%len(forgeries)]
			kind, raw = made.kind, made.make(f, good)
		}
		status, err := l.get(raw)
		r.forged[fmt.Sprint(kind, " ", status)]++
		if status != http.StatusUnauthorized && status != http.StatusBadRequest {
			r.add(Answer{Forged: kind, KID: good.kid, Status: status, Error: text(err), Sent: sent, At: time.Now()})
		}
		time.Sleep(p.pause)
		if status == http.StatusServiceUnavailable {
			time.Sleep(busyPause)
		}
	}
}

// sign makes a token that is right in everything but its key. Its client is one of the honest.
func (f *forger) sign(kid string) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: f.key, KeyID: kid}}, new(jose.SignerOptions).WithType("at+jwt"))
	if err != nil {
		return err.Error()
	}
	now := time.Now().Unix()
	client := fmt.Sprintf("client-%d", f.n%64)
	raw, err := jwt.Signed(signer).Claims(map[string]any{
		"iss": f.issuer, "aud": f.audience, "client_id": client, "sub": client, "jti": rand.Text(), "iat": now, "exp": now + 300, "scope": "orders:read",
	}).Serialize()
	if err != nil {
		return err.Error()
	}
	return raw
}
