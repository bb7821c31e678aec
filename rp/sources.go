package rp

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
)

// ClaimSource is where claims are that this object only points to (Core 5.6.2). Nothing of it has been verified or fetched, and nothing will be: a JWT in it is
// signed by somebody else, and its endpoint is a URL out of a token. Printed, it shows neither token.
type ClaimSource struct {
	ID          string
	Names       []string // the claims it is said to hold, sorted
	JWT         string   // aggregated claims: a JWT by another issuer, to be verified with that issuer's keys
	Endpoint    string   // distributed claims: where to ask
	AccessToken string   // for Endpoint; never send your own
}

// Sources lists the aggregated and distributed claims. Malformed entries are left out; Entra's groups overage is one such source.
func (c Claims) Sources() []ClaimSource {
	var names map[string]json.RawMessage
	var sources map[string]struct {
		JWT         json.RawMessage `json:"JWT"`
		Endpoint    json.RawMessage `json:"endpoint"`
		AccessToken json.RawMessage `json:"access_token"`
	}
	if json.Unmarshal(c.members()["_claim_names"], &names) != nil || json.Unmarshal(c.members()["_claim_sources"], &sources) != nil {
		return nil
	}
	byID := map[string][]string{}
	for name, v := range names {
		var id string
		if json.Unmarshal(v, &id) == nil {
			byID[id] = append(byID[id], name)
		}
	}
	var all []ClaimSource
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		from, known := sources[id]
		if !known {
			continue
		}
		s := ClaimSource{ID: id, Names: slices.Sorted(slices.Values(byID[id])), JWT: text(from.JWT), Endpoint: text(from.Endpoint), AccessToken: text(from.AccessToken)}
		if s.JWT != "" || s.Endpoint != "" {
			all = append(all, s)
		}
	}
	return all
}

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// String names the source and its claims.
func (s ClaimSource) String() string {
	return fmt.Sprintf("rp.ClaimSource{ID: %q, Names: %q, aggregated: %t}", s.ID, s.Names, s.JWT != "")
}

// Format prints String for every verb.
func (s ClaimSource) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue is String.
func (s ClaimSource) LogValue() slog.Value { return slog.StringValue(s.String()) }
