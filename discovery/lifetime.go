package discovery

import (
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/fetch"
)

// lifetime is how long an answer with these header fields may be used without asking again, as RFC 9111 section 4.2 has it for a
// private cache, bounded by least and most. Revalidation is left out: no-cache and no-store mean "soon", which is least.
func lifetime(h http.Header, now time.Time, least, most time.Duration) time.Duration {
	return min(max(fresh(h, now), least), most)
}

func fresh(h http.Header, now time.Time) time.Duration {
	maxAge, known := time.Duration(0), false
	for field := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			// Of two the shorter counts, and one that can't be read is none (RFC 9111 section 4.2.1).
			age, ok := fetch.Seconds(strings.Trim(strings.TrimSpace(value), `"`))
			if !ok {
				return 0
			}
			if !known || age < maxAge {
				maxAge, known = age, true
			}
		}
	}
	if !known {
		expires := h.Get("Expires")
		if expires == "" {
			return defaultLifetime
		}
		end, err := http.ParseTime(expires)
		if err != nil {
			return 0
		}
		// The provider's own clock, if it tells, so that ours may be wrong.
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			now = date
		}
		maxAge = end.Sub(now)
	}
	age, _ := fetch.Seconds(strings.TrimSpace(h.Get("Age")))
	return maxAge - age
}
