package bearer_test

import (
	"errors"
	"testing"

	"github.com/latchkey-go/latchkey/middleware/bearer"
)

func TestTheMostParticularEntryOfAProcedureCounts(t *testing.T) {
	p := bearer.Procedures{
		Rules: map[string][]bearer.Rule{
			"/shop.Orders/List": {}, "/shop.Orders/": {bearer.Scopes("write")}, "/shop.Open/": {},
		},
		Public: []string{"/shop.Health/", "/shop.Orders/Ping", ""},
	}
	tok := &bearer.Token{Scopes: []string{"read"}}
	for name, want := range map[string]string{
		"/shop.Orders/List": "allowed", "/shop.Orders/Delete": "forbidden", "/shop.Orders/Ping": "public", "/shop.Health/Check": "public",
		"/shop.Open/Any": "allowed", "/shop.Other/Any": "forbidden", "/shop.Orders2/List": "forbidden", "": "forbidden", "nonsense": "forbidden", "/shop.Orders/List/": "forbidden",
	} {
		got := "allowed"
		if p.IsPublic(name) {
			got = "public"
		} else if err := bearer.Authorize(tok, p.For(name)...); errors.Is(err, bearer.ErrForbidden) {
			got = "forbidden"
		}
		if got != want {
			t.Errorf("%q is %s, want %s", name, got, want)
		}
	}
	p.Rules[""] = nil
	if err := bearer.Authorize(tok, p.For("/shop.Other/Any")...); err != nil {
		t.Errorf("with an entry for all others: %v", err)
	}
}
