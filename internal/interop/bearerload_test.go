package interop_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/interop/service"
	"github.com/latchkey-go/latchkey/middleware/bearer"
)

const (
	loadAudience = "https://orders.example"
	loadPeriod   = 5 * time.Second // between two rotations of the provider's keys
	loadOutage   = time.Second
	// loadCooldown is discovery.Config.Cooldown: with forgers that send unknown kids without end, it is how long a token of a new key may have to
	// wait for its first answer. It must be well under the time for which a key stays published, which is loadPeriod here.
	loadCooldown = time.Second
	// loadReturn is how long the API may take to see that its provider is back.
	loadReturn = 6 * time.Second
)

// loadDuration is LATCHKEY_LOAD_DURATION; without it 3 s in short runs, a minute where services are required, and 10 s elsewhere.
func loadDuration(t *testing.T) time.Duration {
	if said := os.Getenv("LATCHKEY_LOAD_DURATION"); said != "" {
		d, err := time.ParseDuration(said)
		if err != nil {
			t.Fatalf("LATCHKEY_LOAD_DURATION: %v", err)
		}
		return d
	}
	switch {
	case testing.Short():
		return 3 * time.Second
	case service.Required():
		return time.Minute
	}
	return 10 * time.Second
}

// TestNoHonestRequestFailsUnderLoadRotationsAndOutages has four processes: this one, the provider, the API, and the load generator with 64 connections of
// honest clients and 16 of forgers.
//
// A request is honest when its token is signed by a key that the provider publishes from the token's issue to the request's answer. Every answer to
// an honest request but 200 is a failure, and so is none. Two kinds of answers are not counted as failures, and are counted apart:
//   - 401 to a token whose key was withdrawn before the answer: a hard rotation, after which clients have to take new tokens. In an outage the API
//     can't know whether that key has come back, and says 503;
//   - 503 to a token whose key came into being while the API could not reach the provider, until the API has seen it ("in the dark"). Nobody can
//     know that key. One outage in ten seconds of the plan has such a rotation, all others must go by without any 503.
//
// A forged token must be refused with 401 or 400; 503 is right only where it names a kid that the API can't ask the provider about.
func TestNoHonestRequestFailsUnderLoadRotationsAndOutages(t *testing.T) {
	duration := loadDuration(t)
	l := &loadTest{t: t, keyserver: service.Build(t, "keyserver"), state: filepath.Join(t.TempDir(), "keys.json"), withdrawn: map[string]time.Time{}, dark: map[string]time.Time{}}
	apiserver, wrk := service.Build(t, "apiserver"), service.Build(t, "wrk")
	l.address = quietPort(t)
	l.startProvider()

	api := l.run(apiserver, "-issuer", l.issuer, "-audience", loadAudience, "-cooldown", loadCooldown.String(), "-lifetime", "2s")
	var said struct{ URL string }
	if err := api.Read(&said, time.Minute); err != nil {
		t.Fatal(err)
	}
	l.api = said.URL
	before := l.stats()

	generator := l.run(wrk, "-target", l.api+"/orders", "-issuer", l.issuer, "-audience", loadAudience,
		"-duration", duration.String(), "-life", (loadPeriod * 4 / 5).String(), "-connections", "64", "-forgers", "16")
	l.play(time.Now().Add(duration))

	var report loadReport
	if err := generator.Read(&report, time.Minute); err != nil {
		t.Fatal(err)
	}
	after := l.stats()
	judged := l.judge(report)
	hits, misses := after.Cache.Hits-before.Cache.Hits, after.Cache.Misses-before.Cache.Misses
	t.Logf("%.1f s: %d honest requests by 64 connections, %.0f/s; p50 %s, p99 %s, longest %s; %d tokens", report.Seconds, report.Honest,
		float64(report.Honest)/report.Seconds, report.P50, report.P99, report.Max, report.Tokens)
	t.Logf("honest requests that failed: %d; not counted: %d answers to tokens of a withdrawn key, %d times 503 to tokens of a key that came in the dark", judged.failed, judged.withdrawn, judged.dark)
	t.Logf("forged requests: %s; not refused as they should: %d", forgedTable(report.Forged), judged.forged)
	t.Logf("cache: %d hits, %d misses, %d evicted, %d entries; busy %d; goroutines %d, at rest before %d", hits, misses, after.Cache.Evicted, after.Cache.Entries, after.Cache.Busy, after.Goroutines, before.Goroutines)
	t.Logf("provider: %d restarts, %d rotations, %d of them hard; the API fetched the keys %d times, and %d times in vain", l.restarts, l.rotations, l.hard, after.Fetched, after.Failed)

	if report.Honest < 1000 || len(report.Forged) < 9 || l.restarts == 0 || l.rotations == 0 || hits == 0 {
		t.Error("too little happened: the test shows nothing")
	}
	if after.Cache.Busy > 0 {
		t.Errorf("%d tokens were refused as too many at once", after.Cache.Busy)
	}
	if most := int(report.Seconds/loadCooldown.Seconds()*2) + 4; after.Fetched+after.Failed > most {
		t.Errorf("%d fetches of the keys, want at most %d", after.Fetched+after.Failed, most)
	}
	api.Kill()
	if logged := api.Stderr(); logged != "" {
		t.Errorf("the API logged errors:\n%.2000s", logged)
	}
}

// apiStats is what the API says of itself.
type apiStats struct {
	Cache           bearer.Stats
	Fetched, Failed int
	Goroutines      int
}

func (l *loadTest) stats() (s apiStats) {
	l.t.Helper()
	resp, body := bearerGet(l.t, l.api+"/stats", "", nil)
	if err := json.Unmarshal(body, &s); err != nil || resp.StatusCode != http.StatusOK {
		l.t.Fatalf("the API's numbers: %s (%v)", resp.Status, err)
	}
	return s
}

// loadReport is what the load generator says.
type loadReport struct {
	Seconds       float64
	Honest        int
	P50, P99, Max time.Duration
	Tokens        int
	Forged        map[string]int
	Odd           []loadAnswer
	OddCount      int
}

type loadAnswer struct {
	Forged, KID string
	Status      int
	Error       string
	Sent, At    time.Time
}

type judgement struct{ failed, withdrawn, dark, forged int }

// judge sorts the answers that were not as usual.
func (l *loadTest) judge(report loadReport) (j judgement) {
	if report.OddCount > len(report.Odd) {
		l.t.Errorf("%d unusual answers, more than can be looked at", report.OddCount)
	}
	for _, a := range report.Odd {
		withdrawn, gone := l.withdrawn[a.KID]
		unknown, dark := l.dark[a.KID]
		down := a.Status == http.StatusServiceUnavailable
		gone = gone && a.At.After(withdrawn)
		dark = dark && a.Sent.Before(unknown)
		outage := slices.ContainsFunc(l.outages, func(s span) bool { return a.Sent.Before(s.to) && a.At.After(s.from) })
		switch {
		case a.Forged != "" && down && outage && (gone || dark || strings.HasSuffix(a.Forged, " kid")):
			continue
		case a.Forged != "":
			j.forged++
		case gone && (a.Status == http.StatusUnauthorized || down && outage):
			j.withdrawn++
			continue
		case dark && down:
			j.dark++
			continue
		default:
			j.failed++
		}
		if j.failed+j.forged < 10 {
			l.t.Errorf("%+v", a)
		}
	}
	if j.failed+j.forged > 0 {
		l.t.Errorf("%d honest requests failed, and %d forged ones were not refused as they should", j.failed, j.forged)
	}
	return j
}

func forgedTable(counts map[string]int) string {
	var lines []string
	for kind, n := range counts {
		lines = append(lines, fmt.Sprintf("%s %d", kind, n))
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}
