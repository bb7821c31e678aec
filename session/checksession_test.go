package session

import "testing"

func TestASessionKeepsItsSessionState(t *testing.T) {
	var read record
	if err := read.parse((&record{ID: "id", SessionState: "hash.salt"}).append(nil)); err != nil {
		t.Fatal(err)
	}
	if got := (&Session{inside: &inside{rec: read}}).SessionState(); got != "hash.salt" {
		t.Errorf("%q", got)
	}
	if got := (&Session{}).SessionState(); got != "" {
		t.Errorf("nobody's: %q", got)
	}
}
