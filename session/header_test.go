package session_test

import (
	"net/http/httptest"
	"testing"
)

func TestAHandlerThatChangesItsHeaderInPlaceChangesNoOthers(t *testing.T) {
	v := newSite(t, setup{}).visitor()
	v.login()
	for range 2 {
		w := httptest.NewRecorder()
		if _, err := v.site.Load(w, v.get("/")); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"Cache-Control": "no-store", "Vary": "Cookie"} {
			if got := w.Header()[name]; len(got) != 1 || got[0] != want {
				t.Fatalf("%s: %q, want %q", name, got, want)
			}
			w.Header()[name][0] = "changed"
		}
	}
}
