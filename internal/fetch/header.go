package fetch

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Seconds reads delta-seconds (RFC 9111 section 1.2.2): too large a number means a long time.
func Seconds(s string) (time.Duration, bool) {
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

// RetryAfter reads Retry-After: seconds or a date (RFC 9110 section 10.2.3). Zero: none.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if d, ok := Seconds(value); ok {
		return d
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
