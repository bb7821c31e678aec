package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/fetch"
)

// maxDocument is the longest metadata document or key set read, in bytes.
const maxDocument = 1 << 20

// wellKnown lists where the document may lie, to be tried in order: after the issuer less one final slash (Discovery section 4.1),
// or between its host and path (RFC 8414 section 3.1).
func wellKnown(issuer string) []string {
	const openid, oauth = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"
	base := strings.TrimSuffix(issuer, "/")
	places := []string{base + openid}
	if u, err := url.Parse(base); err == nil {
		path := u.EscapedPath()
		root := strings.TrimSuffix(base, path)
		places = append(places, root+oauth+path)
		if path != "" {
			places = append(places, root+openid+path)
		}
	}
	return places
}

// fetchMetadata asks one place after the other until one has an answer other than 404.
func (p *Provider) fetchMetadata(ctx context.Context) (*Metadata, time.Duration, error) {
	if strings.Contains(p.places[0], "{tenantid}") {
		return nil, 0, &UnavailableError{URL: name(p.places[0]), Err: errors.New("no document lies under an issuer with {tenantid}; set Config.DiscoveryURL")}
	}
	var err error
	for _, place := range p.places {
		var resp *fetch.Response
		if resp, err = p.getJSON(ctx, place, "application/json"); err != nil {
			if errors.Is(err, errNotFound) {
				continue
			}
			return nil, 0, err
		}
		m, odd, err := parseMetadata(resp.Body)
		if err == nil {
			err = m.check(p.cfg.Issuer, p.static == nil, p.cfg.InsecureLoopbackHTTP)
		}
		if err != nil {
			return nil, 0, &UnavailableError{URL: name(place), Err: err}
		}
		if len(odd) > 0 {
			p.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "discovery: metadata members of a wrong type are ignored",
				slog.String("url", name(place)), slog.Any("members", odd))
		}
		return m, p.lifetime(resp.Header), nil
	}
	return nil, 0, err
}

func (p *Provider) lifetime(h http.Header) time.Duration {
	return lifetime(h, time.Now(), p.cfg.MinLifetime, p.cfg.MaxLifetime)
}

var errNotFound = errors.New("it answered 404 Not Found; check Config.Issuer, or set Config.DiscoveryURL if the document lies elsewhere")

// getJSON asks for a document; all its errors are *UnavailableError.
func (p *Provider) getJSON(ctx context.Context, target, accept string) (*fetch.Response, error) {
	resp, err := fetch.Get(ctx, p.http, target, accept, maxDocument)
	fail := func(err error) (*fetch.Response, error) {
		e := &UnavailableError{URL: name(target), Err: err}
		if resp != nil {
			e.RetryAfter = fetch.RetryAfter(resp.Header, time.Now())
		}
		return nil, e
	}
	if err != nil {
		if e, ok := errors.AsType[*fetch.Error](err); ok {
			err = e.Err // which names the URL once more
		}
		return fail(err)
	}
	switch {
	case resp.Status == http.StatusNotFound:
		return fail(errNotFound)
	case resp.Status >= 300 && resp.Status < 400:
		return fail(fmt.Errorf("it redirects (%d), which is not followed: configure the final URL", resp.Status))
	case resp.Status != http.StatusOK:
		return fail(fmt.Errorf("it answered %d %s", resp.Status, http.StatusText(resp.Status)))
	}
	if err := checkType(resp.Header.Get("Content-Type")); err != nil {
		return fail(err)
	}
	return resp, nil
}

// checkType refuses pages. Plain text and bytes pass, as does silence: static hosting knows no better, and what is inside is
// checked as strictly as ever.
func checkType(contentType string) error {
	if contentType == "" {
		return nil
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && media == "" {
		return fmt.Errorf("its Content-Type can't be read: %s", quote(contentType))
	}
	switch {
	case media == "application/json", strings.HasSuffix(media, "+json"), media == "text/plain", media == "application/octet-stream":
		return nil
	case media == "text/html", media == "application/xhtml+xml":
		return errors.New("it answered with an HTML page, not JSON (a login page, a proxy, or a wrong Config.Issuer?)")
	}
	return fmt.Errorf("its Content-Type is %s, not application/json", quote(media))
}

// name is target as errors and logs may show it.
func name(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		return "(not a URL)"
	}
	return fetch.Name(u)
}
