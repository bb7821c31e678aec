package clientauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

// actionsTimeout bounds the fetch of one ID token.
const actionsTimeout = 10 * time.Second

// GitHubActions is a source for Assertion: the ID token of the running job of GitHub Actions, for that audience (empty: GitHub's default, the URL of the repository's owner).
// The job needs the permission id-token: write. The token is fetched from ACTIONS_ID_TOKEN_REQUEST_URL when it is first needed and a minute before its end, once however many ask.
// client makes the call; nil: http.DefaultTransport. Redirects are not followed.
func GitHubActions(audience string, client *http.Client) func(context.Context) (string, error) {
	c := http.Client{}
	if client != nil {
		c = *client
	}
	c.Jar = nil
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if c.Timeout <= 0 || c.Timeout > actionsTimeout {
		c.Timeout = actionsTimeout
	}
	a := &actions{audience: audience, client: &c, turn: make(chan struct{}, 1)}
	return a.token
}

type actions struct {
	audience string
	client   *http.Client

	turn chan struct{} // holds who may use what follows: unlike a Mutex it can be waited for as long as a context lasts
	good string
	exp  time.Time
}

func (a *actions) token(ctx context.Context) (string, error) {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	now := time.Now()
	if a.exp.Sub(now) > nearEnd {
		return a.good, nil
	}
	token, exp, err := a.fetch(ctx)
	switch {
	case err == nil && now.Before(exp):
		a.good, a.exp = token, exp
		return token, nil
	case now.Before(a.exp):
		return a.good, nil
	}
	return "", fmt.Errorf("the ID token of GitHub Actions: %w", cmp.Or(err, errors.New("it has expired already")))
}

func (a *actions) fetch(ctx context.Context) (token string, exp time.Time, err error) {
	fail := func(format string, args ...any) (string, time.Time, error) {
		return "", time.Time{}, fmt.Errorf(format, args...)
	}
	// Read now: each step of a job has its own.
	raw, secret := os.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), os.Getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if raw == "" || secret == "" {
		return fail("ACTIONS_ID_TOKEN_REQUEST_URL or ACTIONS_ID_TOKEN_REQUEST_TOKEN is not set; the job needs the permission id-token: write")
	}
	target, err := url.Parse(raw)
	if err != nil || target.Scheme != "https" || target.Host == "" || target.User != nil {
		return fail("ACTIONS_ID_TOKEN_REQUEST_URL is no https URL")
	}
	if a.audience != "" {
		query := target.Query()
		query.Set("audience", a.audience)
		target.RawQuery = query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return fail("ACTIONS_ID_TOKEN_REQUEST_URL is no https URL")
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Accept", "application/json")
	resp, err := a.client.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok { // it prints the URL, query included
			err = u.Err
		}
		return fail("no answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fail("the answer is %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 2*maxAssertion+1))
	if err != nil {
		return fail("reading the answer: %w", err)
	}
	if len(body) > 2*maxAssertion {
		return fail("the answer is longer than %d bytes", 2*maxAssertion)
	}
	var answer struct {
		Value string `json:"value"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return fail("the answer is no JSON object with a value")
	}
	exp, err = expiry(answer.Value)
	return answer.Value, exp, err
}
