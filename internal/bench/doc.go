// Package bench measures this SDK beside its peers, in one run on the same content:
//
//	go test -run '^$' -bench . -benchmem ./internal/bench
//
// Read ratios and allocations, not nanoseconds.
package bench
