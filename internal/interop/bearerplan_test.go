package interop_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/interop/service"
)

// loadTest knows what happened to the provider, and when.
type loadTest struct {
	t                         *testing.T
	keyserver, state, address string
	provider                  *service.Program
	issuer, api               string

	restarts, rotations, hard int
	current, previous         string // kids
	withdrawn                 map[string]time.Time
	dark                      map[string]time.Time // kids that came in the dark, and until when the API may not know them
	outages                   []span
}

// span is a time during which the API may have been unable to ask the provider.
type span struct{ from, to time.Time }

// play rotates and kills until end. Every wait is for something that was seen, so that a slow machine makes the plan late and not false.
func (l *loadTest) play(end time.Time) {
	for period := 0; ; period++ {
		next := time.Now().Add(loadPeriod)
		inTheDark, hard := period%7 == 2, period%6 == 1
		outage := inTheDark || period%5 < 2 || period%6 == 0
		if !inTheDark {
			l.rotate(hard)
		}
		if outage {
			// The API knows the key by now, and has just asked for it.
			l.wait(time.Now().Add(loadCooldown/4), end)
			killed := time.Now()
			l.provider.Kill()
			l.wait(killed.Add(loadOutage), killed.Add(loadOutage))
			l.startProvider()
			l.restarts++
			if inTheDark {
				from := time.Now()
				l.rotateKeys(false)
				l.dark[l.current] = from.Add(loadReturn)
				l.answers(l.token(), http.StatusOK, loadReturn)
				l.dark[l.current] = time.Now()
				next = from.Add(loadPeriod)
			}
			// Only who has asked the provider can say that there is no such key.
			l.answers(l.forged(), http.StatusUnauthorized, loadReturn)
			l.outages = append(l.outages, span{killed, time.Now()})
		}
		if l.wait(next, end); !time.Now().Before(end) {
			return
		}
	}
}

func (l *loadTest) wait(until, end time.Time) {
	if end.Before(until) {
		until = end
	}
	time.Sleep(time.Until(until))
}

// rotate is a rotation while all is well: the first token of the new key must pass at once, and after a hard one no old token may.
func (l *loadTest) rotate(hard bool) {
	l.t.Helper()
	old := l.token()
	if got := l.status(old); got != http.StatusOK {
		l.t.Errorf("a token answered %d before a rotation", got)
	}
	l.rotateKeys(hard)
	if got := l.status(l.token()); got != http.StatusOK {
		l.t.Errorf("the first token of a new key answered %d", got)
	}
	want := http.StatusOK
	if hard {
		want = http.StatusUnauthorized
	}
	if got := l.status(old); got != want {
		l.t.Errorf("a token of the key before answered %d after a rotation (hard: %v)", got, hard)
	}
}

func (l *loadTest) rotateKeys(hard bool) {
	l.t.Helper()
	said := url.Values{}
	if hard {
		said.Set("hard", "1")
		l.hard++
	}
	l.rotations++
	from := time.Now()
	var answer struct{ KID string }
	l.post("/rotate", said, &answer)
	for _, kid := range []string{l.previous, l.current} {
		if _, gone := l.withdrawn[kid]; !gone && (hard || kid == l.previous) {
			l.withdrawn[kid] = from
		}
	}
	l.previous, l.current = l.current, answer.KID
}

func (l *loadTest) post(path string, form url.Values, answer any) {
	l.t.Helper()
	resp, err := http.PostForm(l.issuer+path, form)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil || resp.StatusCode != http.StatusOK {
		l.t.Fatalf("the provider's %s answered %s (%v)", path, resp.Status, err)
	}
}

func (l *loadTest) token() string {
	l.t.Helper()
	var answer struct {
		Token string `json:"access_token"`
		KID   string `json:"kid"`
	}
	l.post("/token", url.Values{"client_id": {"plan"}, "resource": {loadAudience}}, &answer)
	l.current = answer.KID
	return answer.Token
}

// forged is a token with a kid that never was.
func (l *loadTest) forged() string {
	l.t.Helper()
	_, rest, _ := strings.Cut(l.token(), ".")
	return encode(`{"alg":"ES256","typ":"at+jwt","kid":"`+fmt.Sprint("never-", rand.Uint64())+`"}`) + "." + rest
}

func (l *loadTest) status(token string) int {
	l.t.Helper()
	resp, _ := bearerGet(l.t, l.api+"/orders", token, nil)
	return resp.StatusCode
}

// answers waits until the API gives this answer, with 503 alone before.
func (l *loadTest) answers(token string, want int, limit time.Duration) {
	l.t.Helper()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		got := l.status(token)
		if got == want {
			return
		}
		if got != http.StatusServiceUnavailable || time.Since(begun) > limit {
			l.t.Fatalf("the API answered %d %s after the provider's return, want %d", got, time.Since(begun), want)
		}
	}
}

func (l *loadTest) run(program string, args ...string) *service.Program {
	l.t.Helper()
	p, err := service.Run(l.t, program, args...)
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

func (l *loadTest) startProvider() {
	l.t.Helper()
	l.provider = l.run(l.keyserver, "-address", l.address, "-state", l.state)
	var said struct{ Issuer string }
	if err := l.provider.Read(&said, time.Minute); err != nil {
		l.t.Fatal(err)
	}
	l.issuer = said.Issuer
}

// quietPort is an address that no other program is given by chance while its owner is away: under the range of ports for outgoing connections.
func quietPort(t *testing.T) string {
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 12_000+rand.IntN(18_000))
		if listener, err := net.Listen("tcp", address); err == nil {
			listener.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}
