package rptest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

func (r *rig) jwks() []map[string]any {
	r.t.Helper()
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal([]byte(read(r.t, r.get(base(r.p)+"/jwks", ""))), &set); err != nil {
		r.t.Fatal(err)
	}
	return set.Keys
}

func (r *rig) kids() []string {
	var kids []string
	for _, k := range r.jwks() {
		kids = append(kids, fmt.Sprint(k["kid"]))
	}
	return kids
}

func TestRotationReplacesOrKeepsTheOldKeys(t *testing.T) {
	r := newRig(t, rptest.Options{})
	first := r.p.KeyID()
	r.p.RotateKeys(true)
	second := r.p.KeyID()
	if kids := r.kids(); len(kids) != 2 || first == second || !slices.Contains(kids, first) || !slices.Contains(kids, second) {
		t.Fatalf("after an overlapping rotation: %v, signing by %s", kids, second)
	}
	r.p.RotateKeys()
	if kids := r.kids(); len(kids) != 1 || kids[0] != r.p.KeyID() || kids[0] == second {
		t.Errorf("after a hard rotation: %v", kids)
	}
	r.verified(r.login()["id_token"], "ES256")
}

func TestOddKeySetsStillHoldTheSigningKey(t *testing.T) {
	r := newRig(t, rptest.Options{})
	r.p.SetKeys(rptest.Keys{Extra: rptest.OddKeys(), Decoys: 2, SameKID: true})
	kids := r.kids()
	if n := len(kids); n != len(rptest.OddKeys())+3 || kids[n-2] != r.p.KeyID() || kids[n-3] != r.p.KeyID() {
		t.Errorf("%v", kids)
	}
	r.p.SetKeys(rptest.Keys{NoKID: true, NoAlg: true, NoUse: true})
	if keys := r.jwks(); len(keys) != 1 || keys[0]["kid"] != nil || keys[0]["alg"] != nil || keys[0]["use"] != nil {
		t.Errorf("%v", keys)
	}
	if header, _ := r.verified(r.login()["id_token"], "ES256"); header.KeyID != "" {
		t.Errorf("kid %q", header.KeyID)
	}
	r.p.SetKeys(rptest.Keys{Raw: json.RawMessage(`{"keys":[]}`)})
	if keys := r.jwks(); len(keys) != 0 {
		t.Errorf("%v", keys)
	}
	r.p.SetKeys(rptest.Keys{})
	r.verified(r.login()["id_token"], "ES256")
}

func TestSignSignsAnything(t *testing.T) {
	r := newRig(t, rptest.Options{})
	header, claims := r.verified(r.p.Sign(map[string]any{"a": "b"}, "typ", "at+jwt"), "ES256")
	if header.ExtraHeaders["typ"] != "at+jwt" || claims["a"] != "b" || len(claims) != 1 {
		t.Errorf("%v %v", header, claims)
	}
	if token := r.p.Sign(map[string]any{"a": "b"}, "alg", "none"); !strings.HasSuffix(token, ".") {
		t.Errorf("%s", token)
	}
	if _, claims := r.verified(r.p.SignBent(map[string]any{"iss": "x"}, rptest.WrongIssuer, rptest.NoSub), "ES256"); claims["iss"] != r.p.Issuer()+"1" {
		t.Errorf("%v", claims)
	}
	r.verified(r.p.SignBent(map[string]any{}, rptest.AlgOther), "EdDSA")
}

func TestClientsMayHaveAnAlgorithmOfTheirOwn(t *testing.T) {
	secret := strings.Repeat("s", 32)
	r := newRig(t, rptest.Options{Clients: []rptest.Client{{ID: "c", Secret: secret, SigningAlg: "HS256", UserInfoSignedAlg: "ES384"}}})
	tokens := r.login()
	raw := fmt.Sprint(tokens["id_token"])
	dot := strings.LastIndexByte(raw, '.')
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(raw[:dot]))
	if raw[dot+1:] != base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) {
		t.Error("not signed with the secret")
	}
	resp := r.get(base(r.p)+"/userinfo", fmt.Sprint(tokens["access_token"]))
	if resp.Header.Get("Content-Type") != "application/jwt" {
		t.Errorf("%v", resp.Header)
	}
	if _, claims := r.verified(read(t, resp), "ES384"); claims["sub"] != "alice" || claims["aud"] != "c" || claims["iss"] != r.p.Issuer() {
		t.Errorf("%v", claims)
	}
}

// TestHS256FaultIsSignedWithThePublicKey is the attack as it is made: with what the key set tells everybody.
func TestHS256FaultIsSignedWithThePublicKey(t *testing.T) {
	r := newRig(t, rptest.Options{})
	r.p.TokenFault(rptest.AlgHS256PublicKey)
	raw := fmt.Sprint(r.login()["id_token"])
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil || jws.Signatures[0].Header.KeyID != r.p.KeyID() {
		t.Fatalf("%v %v", jws, err)
	}
	if _, err := jws.Verify(bytesOfPEM(t, r)); err != nil {
		t.Error(err)
	}
}

func TestPrintedTypesHoldNoSecret(t *testing.T) {
	r := newRig(t, rptest.Options{})
	client, user := rptest.Client{ID: "c", Secret: "hunter2"}, rptest.User{Name: "u", Password: "hunter2"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "client", client, "user", user, "provider", r.p)
	out := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		out += fmt.Sprintf(verb+verb+verb+verb, client, user, r.p, rptest.Options{Clients: []rptest.Client{client}, Users: []rptest.User{user}})
	}
	if strings.Contains(out, "hunter2") || strings.Contains(out, "test-secret") || !strings.Contains(out, "op.example") {
		t.Errorf("%s", out)
	}
}

func bytesOfPEM(t *testing.T, r *rig) []byte {
	t.Helper()
	var key jose.JSONWebKey
	raw, _ := json.Marshal(r.jwks()[0])
	if err := key.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func decode(part string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(part) }
