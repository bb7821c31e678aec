package rptest

import (
	"net/http"
	"net/url"
	"slices"
	"sync"
)

// Fault bends an endpoint: it wraps the honest handler, which it may call or not. Any middleware is a Fault.
type Fault func(honest http.Handler) http.Handler

// TokenFault bends a JWT before it is signed.
type TokenFault func(*JWT)

// AnswerFault bends the parameters which the browser brings back to the client.
type AnswerFault func(url.Values)

// JWT is a token about to be signed.
type JWT struct {
	Header, Claims map[string]any
	// Payload, not empty, is signed in place of Claims: for what a map cannot hold.
	Payload string
	// Refresh is true in a token issued for a refresh token.
	Refresh bool
	// After, not nil, changes the finished token.
	After func(compact string) string

	provider *Provider
	secret   []byte // key of HS256, HS384 and HS512
}

// planned is a fault and how many answers it still bends; negative: all.
type planned[F any] struct {
	fault F
	left  int
}

// next takes the fault for one answer: counted ones first, in the order they were asked for.
func next[F any](queue *[]planned[F]) (fault F, ok bool) {
	if len(*queue) == 0 {
		return fault, false
	}
	first := &(*queue)[0]
	fault = first.fault
	if first.left > 0 {
		if first.left--; first.left == 0 {
			*queue = (*queue)[1:]
		}
	}
	return fault, true
}

// plan adds a fault. A lasting one stands last and replaces the lasting one before it.
func plan[F any](queue []planned[F], fault F, times int) []planned[F] {
	lasting := slices.IndexFunc(queue, func(p planned[F]) bool { return p.left < 0 })
	switch {
	case times == 0:
		return queue
	case times < 0 && lasting >= 0:
		queue[lasting].fault = fault
		return queue
	case times < 0 || lasting < 0:
		return append(queue, planned[F]{fault, times})
	}
	return slices.Insert(queue, lasting, planned[F]{fault, times})
}

type faults struct {
	mu        sync.Mutex
	endpoints map[Endpoint][]planned[Fault]
	idTokens  []planned[TokenFault]
	access    []planned[TokenFault]
	answers   []planned[AnswerFault]

	introspections []planned[TokenFault]
}

func (f *faults) wrap(e Endpoint, honest http.Handler) http.Handler {
	f.mu.Lock()
	defer f.mu.Unlock()
	queue := f.endpoints[e]
	fault, ok := next(&queue)
	if !ok {
		return honest
	}
	f.endpoints[e] = queue
	return fault(honest)
}

func (f *faults) bend(queue *[]planned[TokenFault], j *JWT) {
	f.mu.Lock()
	fault, ok := next(queue)
	f.mu.Unlock()
	if ok {
		fault(j)
	}
}

func (f *faults) answer(v url.Values) {
	f.mu.Lock()
	fault, ok := next(&f.answers)
	f.mu.Unlock()
	if ok {
		fault(v)
	}
}

// Fault bends every answer of an endpoint until ClearFaults or the next Fault.
func (p *Provider) Fault(e Endpoint, f Fault) { p.FaultTimes(e, f, -1) }

// FaultTimes bends the next n answers of an endpoint, before any Fault and after those already planned; n < 0: all.
func (p *Provider) FaultTimes(e Endpoint, f Fault, n int) {
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	if p.faults.endpoints == nil {
		p.faults.endpoints = map[Endpoint][]planned[Fault]{}
	}
	p.faults.endpoints[e] = plan(p.faults.endpoints[e], f, n)
}

// TokenFault bends every ID token, by all of faults in their order, until ClearFaults or the next TokenFault.
func (p *Provider) TokenFault(faults ...TokenFault) { p.TokenFaultTimes(-1, faults...) }

// TokenFaultTimes bends the next n ID tokens; n < 0: all.
func (p *Provider) TokenFaultTimes(n int, faults ...TokenFault) {
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	p.faults.idTokens = plan(p.faults.idTokens, inTurn(faults), n)
}

// AccessTokenFault bends every JWT access token until ClearFaults or the next AccessTokenFault.
func (p *Provider) AccessTokenFault(faults ...TokenFault) {
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	p.faults.access = plan(p.faults.access, inTurn(faults), -1)
}

// IntrospectionFault bends every signed introspection answer (RFC 9701) until ClearFaults or the next IntrospectionFault.
func (p *Provider) IntrospectionFault(faults ...TokenFault) {
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	p.faults.introspections = plan(p.faults.introspections, inTurn(faults), -1)
}

func inTurn(faults []TokenFault) TokenFault {
	return func(j *JWT) {
		for _, f := range faults {
			f(j)
		}
	}
}

// AnswerFault bends every authorization answer, errors included, until ClearFaults or the next AnswerFault.
func (p *Provider) AnswerFault(faults ...AnswerFault) { p.AnswerFaultTimes(-1, faults...) }

// AnswerFaultTimes bends the next n authorization answers; n < 0: all.
func (p *Provider) AnswerFaultTimes(n int, faults ...AnswerFault) {
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	p.faults.answers = plan(p.faults.answers, func(v url.Values) {
		for _, f := range faults {
			f(v)
		}
	}, n)
}

// ClearFaults makes the provider honest again.
func (p *Provider) ClearFaults() {
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	p.faults.endpoints, p.faults.idTokens, p.faults.access, p.faults.answers = nil, nil, nil, nil
	p.faults.introspections = nil
}
