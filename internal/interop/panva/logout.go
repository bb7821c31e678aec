package panva

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/latchkey-go/latchkey/internal/interop/service"
)

// StartLogout runs one that sends logout tokens until the test ends; see logout.mjs.
func StartLogout(t testing.TB) *Provider { return &Provider{service.Node(t, "../panva/logout.mjs")} }

// Delivery is one logout token that the provider has sent.
type Delivery struct {
	URI     string
	Token   string
	Status  int    // of the answer; 0: there was none
	Outcome string // "success", or what the provider says of the answer it got; of the last delivery to the URI
}

// Deliveries are the logout tokens that a provider of StartLogout has sent to uri, in order.
func (p *Provider) Deliveries(t testing.TB, uri string) []Delivery {
	t.Helper()
	res, err := http.Get(p.process.Admin + "/deliveries")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var sent []Delivery
	if err := json.NewDecoder(res.Body).Decode(&sent); err != nil {
		t.Fatalf("%s: %v", res.Status, err)
	}
	return slices.DeleteFunc(sent, func(d Delivery) bool { return d.URI != uri })
}
