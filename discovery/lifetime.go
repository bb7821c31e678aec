package discovery

import (
	"net/http"
	"strconv"
	"strings"
	"time"
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
			age, ok := seconds(strings.Trim(strings.TrimSpace(value), `"`))
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
	age, _ := seconds(strings.TrimSpace(h.Get("Age")))
	return maxAge - age
}

// seconds reads delta-seconds (RFC 9111 section 1.2.2): too large a number means a long time.
func seconds(s string) (time.Duration, bool) {
	const long = 1 << 31
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > long {
		n = long
	}
	return time.Duration(n) * time.Second, true
}

// retryAfter reads Retry-After: seconds or a date (RFC 9110 section 10.2.3). Zero: none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if d, ok := seconds(value); ok {
		return d
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
