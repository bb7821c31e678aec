package rp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

func TestClientCredentialsAreFetchedOnceForEachTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		j.op.Fault(rptest.Token, rptest.Slow(time.Second))
		seen := map[string]string{}
		for n, g := range []rp.GrantRequest{
			{}, {Scopes: []string{"a", "b"}}, {Scopes: []string{"a"}}, {Resources: []string{"https://api.example"}}, {Resources: []string{"https://other.example"}},
		} {
			var wg sync.WaitGroup
			var tokens sync.Map
			for range 1000 {
				wg.Go(func() {
					token, err := j.client.ClientCredentialsFor(t.Context(), g).Token()
					if err != nil {
						t.Error(err)
						return
					}
					tokens.Store(token.AccessToken, true)
				})
			}
			wg.Wait()
			if hits := j.op.Hits(rptest.Token); hits != n+1 {
				t.Errorf("%v: %d requests", g, hits-n)
			}
			tokens.Range(func(token, _ any) bool {
				if other, known := seen[token.(string)]; known {
					t.Errorf("%v has the token of %s", g, other)
				}
				seen[token.(string)] = g.String()
				return true
			})
		}
		if len(seen) != 5 {
			t.Errorf("%d tokens for 5 targets", len(seen))
		}
		// The order means nothing.
		if _, err := j.client.ClientCredentials(t.Context(), "b", "a").Token(); err != nil || j.op.Hits(rptest.Token) != 5 {
			t.Errorf("%d requests, %v", j.op.Hits(rptest.Token), err)
		}
	})
}

func TestClientCredentialsAreRenewedAheadAndSurviveAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		source := j.client.ClientCredentials(t.Context(), "reports.read")
		get := func() string {
			t.Helper()
			token, err := source.Token()
			if err != nil {
				t.Fatal(err)
			}
			return token.AccessToken
		}
		first := get()
		time.Sleep(54 * time.Second)
		if get() != first {
			t.Error("not served at once")
		}
		synctest.Wait()
		if get() == first {
			t.Error("not renewed in the background")
		}
		j.op.Fault(rptest.Token, rptest.InvalidClient)
		time.Sleep(time.Minute)
		j.op.ResetHits()
		for range 1000 {
			var refused *rp.ProviderError
			if _, err := source.Token(); !errors.As(err, &refused) || refused.Code != "invalid_client" {
				t.Fatalf("the error is %v", err)
			}
		}
		if n := j.op.Hits(rptest.Token); n != 1 {
			t.Errorf("a wrong secret was tried %d times", n)
		}
		j.op.ClearFaults()
		time.Sleep(2 * time.Second)
		get()
	})
}

func TestClientCredentialsAreBounded(t *testing.T) {
	j := newJob(t, rptest.Options{})
	for n := range 1000 {
		if _, err := j.client.ClientCredentials(t.Context(), fmt.Sprint("scope", n)).Token(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.client.ClientCredentials(t.Context(), "one more").Token(); err == nil || !strings.Contains(err.Error(), "1000 different") {
		t.Errorf("the error is %v", err)
	}
	if _, err := j.client.ClientCredentials(t.Context(), "scope0").Token(); err != nil {
		t.Errorf("one that is known: %v", err)
	}
}

func TestClientCredentialsRefuseWhatIsNotTheirs(t *testing.T) {
	j := newJob(t, rptest.Options{})
	if _, err := j.client.ClientCredentialsFor(t.Context(), rp.GrantRequest{Type: "password"}).Token(); err == nil || !strings.Contains(err.Error(), `type "password"`) {
		t.Errorf("another grant: %v", err)
	}
	for _, name := range []string{"grant_type", "scope", "client_id", "client_secret"} {
		source := j.client.ClientCredentialsFor(t.Context(), rp.GrantRequest{Params: url.Values{name: {"x"}}})
		if _, err := source.Token(); err == nil || !strings.Contains(err.Error(), "must not set "+name) {
			t.Errorf("%s: %v", name, err)
		}
		source.Invalidate("x")
	}
	if n := j.op.Hits(rptest.Token); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func ExampleClient_ClientCredentials() {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example"})
	if err != nil {
		panic(err)
	}
	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: op.ClientID(), ClientSecret: op.ClientSecret(), HTTPClient: op.Client()})
	if err != nil {
		panic(err)
	}
	source := client.ClientCredentials(context.Background(), "reports.write")
	token, err := source.Token()
	if err != nil {
		panic(err)
	}
	request, _ := http.NewRequest(http.MethodGet, "https://api.example/reports", nil)
	token.SetAuthHeader(request)
	fmt.Println(strings.Fields(request.Header.Get("Authorization"))[0], token.RefreshToken == "")
	// Output: Bearer true
}
