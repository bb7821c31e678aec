package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

const notificationURI = shop + "/ciba/notification"

// end is how a login ended.
type end struct {
	tokens *rp.Tokens
	err    error
}

// till is an application that has its customers confirm on their telephones.
type till struct {
	*rptest.Provider
	t       *testing.T
	client  *rp.Client
	handler *middleware.Notifications
	log     *syncBuffer

	mu      sync.Mutex
	waiting map[string]*rp.BackchannelLogin
	ends    []end
	down    error // of the till's own storage
}

func newTill(t *testing.T, delivery rp.Delivery) *till {
	t.Helper()
	p, err := rptest.New(rptest.Options{Issuer: "https://op.example", SigningAlg: "ES256", Clients: []rptest.Client{
		{ID: "till", Secret: "secret", TokenDelivery: string(delivery), NotificationURI: notificationURI},
	}})
	if err != nil {
		t.Fatal(err)
	}
	c := &till{Provider: p, t: t, waiting: map[string]*rp.BackchannelLogin{}, log: &syncBuffer{}}
	if c.client, err = rp.New(rp.Config{Issuer: p.Issuer(), ClientID: "till", ClientSecret: "secret", HTTPClient: p.Client()}); err != nil {
		t.Fatal(err)
	}
	c.handler = &middleware.Notifications{Client: c.client, Find: c.find, Finished: c.finished, Logger: slog.New(slog.NewTextHandler(c.log, nil))}
	mux := http.NewServeMux()
	mux.Handle("/ciba/notification", c.handler)
	p.HandleHost("shop.example", mux)
	return c
}

func (c *till) find(_ context.Context, id string) (*rp.BackchannelLogin, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting[id], c.down
}

func (c *till) finished(_ context.Context, l *rp.BackchannelLogin, tokens *rp.Tokens, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down != nil {
		return c.down
	}
	delete(c.waiting, l.AuthReqID)
	c.ends = append(c.ends, end{tokens, err})
	return nil
}

func (c *till) begin(delivery rp.Delivery) *rp.BackchannelLogin {
	c.t.Helper()
	l, err := c.client.Backchannel(c.t.Context(), rp.BackchannelRequest{LoginHint: "alice", Delivery: delivery})
	if err != nil {
		c.t.Fatal(err)
	}
	c.waiting[l.AuthReqID] = l
	return l
}

// notify sends what no honest provider might.
func (c *till) notify(token, contentType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, notificationURI, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	return w
}

func TestAPingIsAnswered204AndItsTokensAreFetchedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTill(t, rp.Ping)
		l := c.begin(rp.Ping)
		if err := c.ApproveBackchannel(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(c.ends) != 1 || c.ends[0].err != nil || c.ends[0].tokens.IDToken.Subject != "alice" || c.Hits(rptest.Token) != 1 {
			t.Fatalf("%+v after %d token requests", c.ends, c.Hits(rptest.Token))
		}
		// The same again: the login is forgotten.
		w := c.notify("Bearer "+l.NotificationToken, "application/json", `{"auth_req_id":"`+l.AuthReqID+`"}`)
		if w.Code != http.StatusUnauthorized || c.Hits(rptest.Token) != 1 || len(c.ends) != 1 {
			t.Errorf("a repetition: %d, %d token requests", w.Code, c.Hits(rptest.Token))
		}
	})
}

func TestAPingIsAnsweredBeforeItsTokensAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTill(t, rp.Ping)
		c.begin(rp.Ping)
		c.FaultTimes(rptest.Token, rptest.Status(503, ""), 1)
		start := time.Now()
		if err := c.ApproveBackchannel(t.Context(), "alice"); err != nil || time.Since(start) != 0 {
			t.Fatalf("%v after %s", err, time.Since(start))
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if len(c.ends) != 1 || c.ends[0].err != nil {
			t.Errorf("%+v", c.ends)
		}
	})
}

func TestAPingWhoseTokensCanNotBeHadIsGivenUpAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTill(t, rp.Ping)
		l := c.begin(rp.Ping)
		c.Fault(rptest.Token, rptest.Down)
		if err := c.ApproveBackchannel(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(c.ends) != 1 || !errors.Is(c.ends[0].err, context.DeadlineExceeded) {
			t.Fatalf("%+v", c.ends)
		}
		c.ClearFaults()
		if _, err := c.client.FinishBackchannel(t.Context(), l); err != nil {
			t.Errorf("later: %v", err)
		}
	})
}

func TestTwoPingsAtOnceMakeOneTokenRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTill(t, rp.Ping)
		l := c.begin(rp.Ping)
		c.Fault(rptest.Token, rptest.Late(3*time.Second))
		c.ApproveBackchannel(t.Context(), "alice")
		for range 5 {
			if w := c.notify("Bearer "+l.NotificationToken, "application/json", `{"auth_req_id":"`+l.AuthReqID+`"}`); w.Code != http.StatusNoContent {
				t.Errorf("a repetition: %d", w.Code)
			}
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(c.ends) != 1 || c.ends[0].err != nil || c.Hits(rptest.Token) != 1 {
			t.Errorf("%+v after %d token requests", c.ends, c.Hits(rptest.Token))
		}
	})
}

// The first of two has found the login when the second one takes it, finishes it and has it forgotten.
func TestANotificationThatWasOvertakenChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, delivery := range []rp.Delivery{rp.Ping, rp.Push} {
			c := newTill(t, delivery)
			l := c.begin(delivery)
			var body string
			c.HandleHost("shop.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				raw, _ := io.ReadAll(r.Body)
				body = string(raw)
				w.WriteHeader(http.StatusNoContent)
			}))
			c.ApproveBackchannel(t.Context(), "alice")
			overtaken := false
			c.handler.Find = func(ctx context.Context, id string) (*rp.BackchannelLogin, error) {
				found, err := c.find(ctx, id)
				if !overtaken {
					overtaken = true
					if w := c.notify("Bearer "+l.NotificationToken, "application/json", body); w.Code != http.StatusNoContent {
						t.Errorf("%s: the second: %d", delivery, w.Code)
					}
				}
				return found, err
			}
			if w := c.notify("Bearer "+l.NotificationToken, "application/json", body); w.Code != http.StatusNoContent {
				t.Errorf("%s: the first: %d", delivery, w.Code)
			}
			if len(c.ends) != 1 || c.ends[0].err != nil || c.Hits(rptest.Token) > 1 {
				t.Errorf("%s: %+v after %d token requests", delivery, c.ends, c.Hits(rptest.Token))
			}
		}
	})
}

func TestAPushIsAnswered204OnceItsTokensAreVerifiedAndSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTill(t, rp.Push)
		c.begin(rp.Push)
		if err := c.ApproveBackchannel(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		if len(c.ends) != 1 || c.ends[0].err != nil || c.ends[0].tokens.IDToken.Subject != "alice" || c.Hits(rptest.Token) != 0 {
			t.Errorf("%+v, %d token requests", c.ends, c.Hits(rptest.Token))
		}
	})
}

func TestANoIsANotificationToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, delivery := range []rp.Delivery{rp.Ping, rp.Push} {
			c := newTill(t, delivery)
			c.begin(delivery)
			if err := c.DenyBackchannel(t.Context(), "alice"); err != nil {
				t.Errorf("%s: %v", delivery, err)
			}
			synctest.Wait()
			if len(c.ends) != 1 || !errors.Is(c.ends[0].err, rp.ErrDenied) || c.ends[0].tokens != nil {
				t.Errorf("%s: %+v", delivery, c.ends)
			}
		}
		c := newTill(t, rp.Push)
		l := c.begin(rp.Push)
		if w := c.notify("Bearer "+l.NotificationToken, "application/json", fmt.Sprintf(`{"auth_req_id":%q,"error":"transaction_failed"}`, l.AuthReqID)); w.Code != http.StatusNoContent || len(c.ends) != 1 {
			t.Errorf("transaction_failed: %d %s", w.Code, w.Body)
		}
	})
}

func TestPushedTokensThatAreRefusedEndTheLogin(t *testing.T) {
	c := newTill(t, rp.Push)
	c.begin(rp.Push)
	c.TokenFault(func(j *rptest.JWT) { delete(j.Claims, "at_hash") })
	if err := c.ApproveBackchannel(t.Context(), "alice"); err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("the provider is told %v", err)
	}
	if len(c.ends) != 1 || !errors.Is(c.ends[0].err, rp.ErrInvalidToken) || c.ends[0].tokens != nil {
		t.Errorf("%+v", c.ends)
	}
}

func TestAPushThatCanNotBeTakenIsToBeSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTill(t, rp.Push)
		l := c.begin(rp.Push)
		var body []byte
		c.HandleHost("shop.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ = io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			c.handler.ServeHTTP(w, r)
		}))
		c.FaultTimes(rptest.JWKS, rptest.Down, 1)
		if err := c.ApproveBackchannel(t.Context(), "alice"); err == nil || !strings.Contains(err.Error(), "503") || len(c.ends) != 0 {
			t.Fatalf("keys out of reach: %v, %+v", err, c.ends)
		}
		time.Sleep(time.Minute)
		c.down = errors.New("the till's storage is down")
		w := c.notify("Bearer "+l.NotificationToken, "application/json", string(body))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || len(c.ends) != 0 {
			t.Errorf("no storage: %d", w.Code)
		}
		c.down = nil
		if w := c.notify("bearer "+l.NotificationToken, "application/json; charset=utf-8", string(body)); w.Code != http.StatusNoContent || len(c.ends) != 1 || c.ends[0].err != nil {
			t.Errorf("again: %d, %+v", w.Code, c.ends)
		}
	})
}

func TestTokensThatCanNotBeSavedArePushedAgain(t *testing.T) {
	c := newTill(t, rp.Push)
	c.begin(rp.Push)
	honest := c.handler.Finished
	c.handler.Finished = func(context.Context, *rp.BackchannelLogin, *rp.Tokens, error) error { return errors.New("disk full") }
	if err := c.ApproveBackchannel(t.Context(), "alice"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("the provider is told %v", err)
	}
	c.handler.Finished = honest
}

// fapi-ciba-id1-client-ping-with-invalid-bearer-token-test, and what else is no notification of a login that waits.
func TestWhatIsNoNotificationOfAWaitingLoginIsRefused(t *testing.T) {
	c := newTill(t, rp.Ping)
	l := c.begin(rp.Ping)
	polled := c.begin(rp.Ping)
	polled.NotificationToken = ""
	good := fmt.Sprintf(`{"auth_req_id":%q}`, l.AuthReqID)
	bearer := "Bearer " + l.NotificationToken
	for _, x := range []struct {
		name, token, contentType, body string
		status                         int
	}{
		{"a wrong bearer token", "Bearer " + strings.Repeat("x", 43), "application/json", good, 401},
		{"a longer one", bearer + "x", "application/json", good, 401},
		{"a shorter one", bearer[:len(bearer)-1], "application/json", good, 401},
		{"none", "", "application/json", good, 401},
		{"an empty one", "Bearer ", "application/json", good, 401},
		{"another scheme", "Basic " + l.NotificationToken, "application/json", good, 401},
		{"a login nobody knows", bearer, "application/json", `{"auth_req_id":"unknown"}`, 401},
		{"a login that polls", "Bearer ", "application/json", fmt.Sprintf(`{"auth_req_id":%q}`, polled.AuthReqID), 401},
		{"another login's token", bearer, "application/json", fmt.Sprintf(`{"auth_req_id":%q}`, polled.AuthReqID), 401},
		{"a form", bearer, "application/x-www-form-urlencoded", "auth_req_id=" + l.AuthReqID, 400},
		{"no type", bearer, "", good, 400},
		{"no JSON", bearer, "application/json", `{"auth_req_id":`, 400},
		{"no id", bearer, "application/json", `{}`, 400},
		{"two ids", bearer, "application/json", `{"auth_req_id":"a","auth_req_id":"b"}`, 400},
		{"too long", bearer, "application/json", `{"auth_req_id":"a","x":"` + strings.Repeat("x", 128<<10) + `"}`, 400},
	} {
		w := c.notify(x.token, x.contentType, x.body)
		if w.Code != x.status || w.Header().Get("Cache-Control") != "no-store" || (x.status == 401) != (w.Header().Get("WWW-Authenticate") != "") || !strings.Contains(w.Body.String(), `"error":"invalid_`) {
			t.Errorf("%s: %d %s %v", x.name, w.Code, w.Body, w.Header())
		}
	}
	r := httptest.NewRequest(http.MethodPost, notificationURI, strings.NewReader(good))
	r.Header["Authorization"] = []string{bearer, bearer}
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	if c.handler.ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
		t.Errorf("two tokens: %d", w.Code)
	}
	w = httptest.NewRecorder()
	if c.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, notificationURI, nil)); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET: %d", w.Code)
	}
	if c.Hits(rptest.Token) != 0 || len(c.ends) != 0 {
		t.Errorf("%d token requests, %+v", c.Hits(rptest.Token), c.ends)
	}
	if log := c.log.String(); !strings.Contains(log, "refused") || strings.Contains(log, l.NotificationToken) || strings.Contains(log, l.AuthReqID) {
		t.Errorf("the log says %s", log)
	}
}

// One table of logins may serve several clients, each with an endpoint of its own.
func TestANotificationAtAnotherClientsEndpointEndsNothing(t *testing.T) {
	for _, delivery := range []rp.Delivery{rp.Ping, rp.Push} {
		for name, change := range map[string]func(*rp.BackchannelLogin){
			"client":   func(l *rp.BackchannelLogin) { l.ClientID = "desk" },
			"provider": func(l *rp.BackchannelLogin) { l.Issuer = "https://other.example" },
		} {
			c := newTill(t, delivery)
			l := c.begin(delivery)
			change(l)
			w := c.notify("Bearer "+l.NotificationToken, "application/json", fmt.Sprintf(`{"auth_req_id":%q}`, l.AuthReqID))
			if w.Code != http.StatusUnauthorized || len(c.ends) != 0 || c.waiting[l.AuthReqID] == nil || c.Hits(rptest.Token) != 0 {
				t.Errorf("%s, another %s: %d, %+v", delivery, name, w.Code, c.ends)
			}
		}
	}
}

func TestANotificationWaitsForTheStorageOfLogins(t *testing.T) {
	c := newTill(t, rp.Ping)
	l := c.begin(rp.Ping)
	c.down = errors.New("down")
	if w := c.notify("Bearer "+l.NotificationToken, "application/json", fmt.Sprintf(`{"auth_req_id":%q}`, l.AuthReqID)); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// The whole way over a socket: the answer leaves before the tokens are fetched, although the handler still runs.
func TestAPingOverTheWireIsAnsweredAtOnce(t *testing.T) {
	c := newTill(t, rp.Ping)
	l := c.begin(rp.Ping)
	c.HandleHost("shop.example", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	c.ApproveBackchannel(t.Context(), "alice")
	server := httptest.NewServer(c.handler)
	gate := make(chan struct{})
	c.Fault(rptest.Token, func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-gate
			honest.ServeHTTP(w, r)
		})
	})
	if err := c.Notify(t.Context(), server.URL, l.NotificationToken, map[string]any{"auth_req_id": l.AuthReqID}); err != nil {
		t.Error(err)
	}
	close(gate)
	server.Close() // waits for the handler
	if len(c.ends) != 1 || c.ends[0].err != nil {
		t.Errorf("%+v", c.ends)
	}
}

// Whatever the body, a notification ends at most the login whose token came with it, and brings no tokens of its own making.
func FuzzNotification(f *testing.F) {
	f.Add("Bearer n", "application/json", []byte(`{"auth_req_id":"a"}`))
	f.Add("Bearer n", "application/json", []byte(`{"auth_req_id":"a","access_token":"t","token_type":"Bearer","expires_in":3600,"refresh_token":"r","id_token":"e30.e30.e30"}`))
	f.Add("bearer n", "application/json; charset=utf-8", []byte(`{"auth_req_id":"a","error":"access_denied","error_description":"\u001b[2J"}`))
	f.Add("Bearer x", "application/json", []byte(`{"auth_req_id":"a","error":7}`))
	f.Add("Bearer n", "text/plain", []byte(`auth_req_id=a`))
	f.Add("", "", []byte(`[[[[`))
	p, err := rptest.New(rptest.Options{Issuer: "https://op.example"})
	if err != nil {
		f.Fatal(err)
	}
	client, err := rp.New(rp.Config{Issuer: p.Issuer(), ClientID: p.ClientID(), ClientSecret: "secret", HTTPClient: p.Client()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, authorization, contentType string, body []byte) {
		ends := 0
		n := &middleware.Notifications{
			Client: client,
			Find: func(_ context.Context, id string) (*rp.BackchannelLogin, error) {
				return &rp.BackchannelLogin{AuthReqID: "a", NotificationToken: "n", Delivery: rp.Push, Expires: time.Now().Add(time.Hour), Issuer: client.Issuer(), ClientID: client.ClientID()}, nil
			},
			Finished: func(_ context.Context, l *rp.BackchannelLogin, tokens *rp.Tokens, err error) error {
				if ends++; tokens != nil || err == nil {
					t.Errorf("%q was accepted", body)
				}
				return nil
			},
			Logger: slog.New(slog.DiscardHandler),
		}
		r := httptest.NewRequest(http.MethodPost, notificationURI, bytes.NewReader(body))
		r.Header["Authorization"], r.Header["Content-Type"] = []string{authorization}, []string{contentType}
		w := httptest.NewRecorder()
		n.ServeHTTP(w, r)
		switch {
		case w.Header().Get("Cache-Control") != "no-store", w.Code != 204 && w.Code != 400 && w.Code != 401, w.Code == 204 && ends != 1, w.Code == 401 && ends != 0, ends > 1:
			t.Errorf("%q: %d, ended %d times", body, w.Code, ends)
		case ends > 0 && !strings.HasSuffix(authorization, " n"):
			t.Errorf("ended by %q", authorization)
		}
	})
}

func ExampleNotifications() {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example", Clients: []rptest.Client{
		{ID: "till", Secret: "secret", TokenDelivery: "push", NotificationURI: "https://shop.example/ciba/notification"},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: "till", ClientSecret: "secret", HTTPClient: op.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	var logins sync.Map // a table of sealed logins, where there is more than one process
	mux := http.NewServeMux()
	mux.Handle("POST /ciba/notification", &middleware.Notifications{
		Client: client,
		Find: func(_ context.Context, authReqID string) (*rp.BackchannelLogin, error) {
			login, _ := logins.Load(authReqID)
			found, _ := login.(*rp.BackchannelLogin)
			return found, nil
		},
		Finished: func(_ context.Context, login *rp.BackchannelLogin, tokens *rp.Tokens, err error) error {
			logins.Delete(login.AuthReqID)
			if err != nil {
				fmt.Println(err) // errors.Is: rp.ErrDenied, rp.ErrExpired ...
				return nil
			}
			fmt.Println("confirmed:", tokens.IDToken.Subject)
			return nil
		},
	})
	op.HandleHost("shop.example", mux)

	login, err := client.Backchannel(context.Background(), rp.BackchannelRequest{LoginHint: "alice", Delivery: rp.Push})
	if err != nil {
		fmt.Println(err)
		return
	}
	logins.Store(login.AuthReqID, login)

	_ = op.ApproveBackchannel(context.Background(), "alice") // the user's part
	// Output: confirmed: alice
}
