// Command wrk keeps an API busy as wrk does, over connections that each send a request as soon as the last is answered. Their tokens come from a
// provider, all the time, and each is used for the time that flag life says. Beside them forgers send tokens that the provider never issued.
// It prints one Report as JSON, and ends with its time or its standard input.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"
)

// Report is what has happened.
type Report struct {
	Seconds  float64
	Honest   int
	P50, P99 time.Duration
	Max      time.Duration
	Tokens   int            // taken from the provider
	Refused  int            // token requests that failed
	Forged   map[string]int // by kind and status: "garbage 401"
	Odd      []Answer       // every honest answer but 200, every forged one but 401 and 400
	OddCount int            // Odd ends at 10,000
}

// Answer is one that was not expected.
type Answer struct {
	Forged   string // kind; empty: honest
	KID      string // of the token, or of the one that the forged one was made of
	Status   int    // 0: none came
	Error    string
	Sent, At time.Time
}

func main() {
	c := config{}
	flag.StringVar(&c.target, "target", "", "URL to get")
	flag.StringVar(&c.issuer, "issuer", "", "the provider")
	flag.StringVar(&c.audience, "audience", "", "name of the API")
	flag.DurationVar(&c.duration, "duration", 10*time.Second, "how long")
	flag.DurationVar(&c.life, "life", 4*time.Second, "how long a token is used")
	flag.IntVar(&c.connections, "connections", 64, "of honest clients")
	flag.IntVar(&c.forgers, "forgers", 16, "connections of forgers")
	flag.DurationVar(&c.pause, "pause", time.Millisecond, "of a forger between two requests")
	flag.Parse()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	report, err := run(c)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(report)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "wrk:", err)
		os.Exit(1)
	}
}

type config struct {
	target, issuer, audience string
	duration, life, pause    time.Duration
	connections, forgers     int
}

// result is one connection's share of the report.
type result struct {
	took   []int32 // microseconds
	forged map[string]int
	odd    []Answer
	count  int
}

func (r *result) add(a Answer) {
	if r.count++; len(r.odd) < 10_000 {
		r.odd = append(r.odd, a)
	}
}

func run(c config) (*Report, error) {
	target, err := url.Parse(c.target)
	if err != nil {
		return nil, err
	}
	p := &pool{config: c}
	if err := p.take(0); err != nil {
		return nil, err
	}
	begun := time.Now()
	end := begun.Add(c.duration)
	var takers, all sync.WaitGroup
	for i := range 4 {
		takers.Go(func() { p.fill(i, end) })
	}
	results := make([]result, c.connections+c.forgers)
	for i := range results {
		all.Go(func() {
			l := &line{address: target.Host, path: target.RequestURI()}
			defer l.close()
			if i < c.connections {
				honest(l, p, end, &results[i])
			} else {
				forge(l, p, end, i-c.connections, &results[i])
			}
		})
	}
	all.Wait()
	seconds := time.Since(begun).Seconds()
	takers.Wait()
	return p.report(results, seconds), nil
}

// busyPause is a client's after an answer of 503.
const busyPause = 100 * time.Millisecond

// honest sends good tokens.
func honest(l *line, p *pool, end time.Time, r *result) {
	for {
		sent := time.Now()
		if !sent.Before(end) {
			return
		}
		t := p.one(sent)
		if t == nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		status, err := l.get(t.raw)
		at := time.Now()
		r.took = append(r.took, int32(at.Sub(sent).Microseconds()))
		if status == http.StatusOK {
			continue
		}
		r.add(Answer{KID: t.kid, Status: status, Error: text(err), Sent: sent, At: at})
		switch status {
		case http.StatusUnauthorized:
			p.drop(t) // as a client does that is told so
		case http.StatusServiceUnavailable:
			time.Sleep(busyPause)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// pool is the good tokens of this moment.
type pool struct {
	config
	mu             sync.Mutex
	tokens         []*token
	taken, refused int
}

type token struct {
	raw, kid string
	until    time.Time
}

const poolSize = 256

// one is a token to use now, nil for none.
func (p *pool) one(now time.Time) *token {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.tokens) > 0 {
		i := rand.IntN(len(p.tokens))
		if t := p.tokens[i]; now.Before(t.until) {
			return t
		}
		p.removeLocked(i)
	}
	return nil
}

func (p *pool) removeLocked(i int) {
	last := len(p.tokens) - 1
	p.tokens[i] = p.tokens[last]
	p.tokens = p.tokens[:last]
}

func (p *pool) drop(t *token) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.tokens, t); i >= 0 {
		p.removeLocked(i)
	}
}

// fill takes tokens until end, at such a pace that the pool stays full.
func (p *pool) fill(taker int, end time.Time) {
	pace := 4 * p.life / poolSize
	for time.Now().Before(end) {
		begun := time.Now()
		if err := p.take(taker*16 + rand.IntN(16)); err != nil {
			p.mu.Lock()
			p.refused++
			p.mu.Unlock()
			time.Sleep(50 * time.Millisecond)
			continue
		}
		time.Sleep(pace - time.Since(begun))
	}
}

func (p *pool) take(client int) error {
	asked := time.Now() // its key can't have been replaced before
	resp, err := http.PostForm(p.issuer+"/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {fmt.Sprintf("client-%d", client)}, "resource": {p.audience}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		KID   string `json:"kid"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || answer.Token == "" {
		return fmt.Errorf("the provider answered %s", resp.Status)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken++
	t := &token{raw: answer.Token, kid: answer.KID, until: asked.Add(p.life)}
	if len(p.tokens) < poolSize {
		p.tokens = append(p.tokens, t)
	} else {
		p.tokens[rand.IntN(poolSize)] = t
	}
	return nil
}

func (p *pool) report(results []result, seconds float64) *Report {
	r := &Report{Seconds: seconds, Tokens: p.taken, Refused: p.refused, Forged: map[string]int{}}
	var took []int32
	for _, one := range results {
		took = append(took, one.took...)
		r.Odd = append(r.Odd, one.odd...)
		r.OddCount += one.count
		for kind, n := range one.forged {
			r.Forged[kind] += n
		}
	}
	slices.Sort(took)
	at := func(share float64) time.Duration {
		if len(took) == 0 {
			return 0
		}
		return time.Duration(took[int(float64(len(took)-1)*share)]) * time.Microsecond
	}
	r.Honest, r.P50, r.P99, r.Max = len(took), at(0.5), at(0.99), at(1)
	slices.SortFunc(r.Odd, func(a, b Answer) int { return a.At.Compare(b.At) })
	r.Odd = r.Odd[:min(len(r.Odd), 10_000)]
	return r
}

// bend changes the byte of s at i, counted from the end when negative, into another base64url one.
func bend(s string, i int) string {
	b := []byte(s)
	if i < 0 {
		i += len(b)
	}
	b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A']
	return string(b)
}
