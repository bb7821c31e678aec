package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
	"golang.org/x/oauth2"
)

// ordersAPI stands for a service of its own: it knows nothing of sessions or cookies, only of the Authorization header.
// It lets the provider judge the token, by asking for its user.
func ordersAPI(client *rp.Client, httpClient *http.Client) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		metadata, err := client.Metadata(r.Context())
		if err != nil {
			http.Error(w, "the provider is out of reach", http.StatusServiceUnavailable)
			return
		}
		subject, err := owner(r.Context(), httpClient, metadata.UserinfoEndpoint, r.Header.Get("Authorization"))
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			http.Error(w, "a valid access token is needed", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"customer": subject,
			"orders":   []map[string]any{{"id": 1042, "item": "A brass latchkey", "price": "12.00"}, {"id": 1043, "item": "A door to fit it", "price": "340.00"}},
		})
	})
}

// owner asks the UserInfo endpoint whose token this is.
func owner(ctx context.Context, httpClient *http.Client, endpoint, authorization string) (string, error) {
	if !strings.HasPrefix(authorization, "Bearer ") {
		return "", fmt.Errorf("no bearer token")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", authorization)
	resp, err := httpClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var user struct {
		Subject string `json:"sub"`
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d", resp.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&user); err != nil || user.Subject == "" {
		return "", fmt.Errorf("no user")
	}
	return user.Subject, nil
}

// callOrders is what an application does with the user's token: an ordinary call, made by x/oauth2's client.
func callOrders(ctx context.Context, httpClient *http.Client, url string, s *session.Session) (int, string, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, httpClient)
	resp, err := oauth2.NewClient(ctx, oauth2.StaticTokenSource(s.Token())).Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, string(body), err
}
