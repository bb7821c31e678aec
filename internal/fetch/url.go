package fetch

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// CheckURL reports why raw is no acceptable endpoint: it must be absolute, https, with a host, without user info or fragment.
// http is accepted for loopback hosts (127.0.0.0/8, ::1, localhost) only when loopbackHTTP is set.
// Link-local, multicast and unspecified addresses are refused: a cloud's metadata service answers there.
func CheckURL(raw string, loopbackHTTP bool) error {
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("it is not a URL") // the parser's own words may quote a password
	}
	switch {
	case raw == "":
		return errors.New("the URL is empty")
	case u.User != nil:
		return errors.New("the URL has user info")
	case u.Scheme == "":
		return fmt.Errorf("%q is not an absolute URL", Name(u))
	case u.Hostname() == "":
		return fmt.Errorf("%q has no host", Name(u))
	case strings.Contains(raw, "#"):
		return fmt.Errorf("%q has a fragment", Name(u))
	case strings.ContainsAny(raw, " \\\""):
		return fmt.Errorf("%q has a character no URL has", Name(u))
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%q has no valid port", Name(u))
		}
	}
	addr, _ := netip.ParseAddr(u.Hostname())
	addr = addr.Unmap()
	if addr.IsLinkLocalUnicast() || addr.IsMulticast() || (addr.IsValid() && addr.IsUnspecified()) {
		return fmt.Errorf("%q names an address no provider has", Name(u))
	}
	loopback := addr.IsLoopback() || strings.EqualFold(u.Hostname(), "localhost")
	switch {
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && loopback && loopbackHTTP:
		return nil
	case u.Scheme == "http" && loopback:
		return fmt.Errorf("%q is not https (for development, allow http to loopback)", Name(u))
	}
	return fmt.Errorf("%q is not https", Name(u))
}
