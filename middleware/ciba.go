package middleware

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey/internal/problem"
	"github.com/latchkey-go/latchkey/rp"
)

const (
	// maxNotification bounds a notification, in bytes: three tokens at most.
	maxNotification = 128 << 10
	// notificationTime is how long the tokens of a ping are fetched for, a provider's short outage included.
	notificationTime = time.Minute
)

// Notifications is the client notification endpoint of CIBA (OpenID CIBA Core 1.0 sections 9, 10.2, 10.3 and 12), an http.Handler for rp.Ping and rp.Push.
// Register its URL as backchannel_client_notification_endpoint; it needs no session and no cookie, so mount it outside of Guard.Require. All fields but Logger are required; don't change them after first use.
// Safe for concurrent use.
type Notifications struct {
	Client *rp.Client
	// Find returns the login with that AuthReqID; nil: none is waiting. What is asked for is not authenticated yet. An error is answered 503.
	// A provider may be quicker than your storage: save each login as soon as rp.Client.Backchannel returns it.
	Find func(ctx context.Context, authReqID string) (*rp.BackchannelLogin, error)
	// Finished gets how login ended, once: tokens, or an err of rp.Client.FinishBackchannel or FinishPush. Save what came and have Find forget login before it returns; notifications
	// that reach two processes at once are for them to tell apart. After a ping, context.DeadlineExceeded means that the provider could not be reached for a minute: keep login
	// then, and call FinishBackchannel later. When Finished fails to save pushed tokens, the provider is told to send them again.
	Finished func(ctx context.Context, login *rp.BackchannelLogin, tokens *rp.Tokens, err error) error
	// Logger gets what is refused; nil: slog.Default().
	Logger *slog.Logger

	mu   sync.Mutex
	busy map[string]bool // by AuthReqID: what is being finished
}

func (n *Notifications) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		n.refuse(w, r, http.StatusMethodNotAllowed, "invalid_request", errNotPost)
		return
	}
	bearer, ok := notificationBearer(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", "Bearer")
		n.refuse(w, r, http.StatusUnauthorized, "invalid_token", errNoBearer)
		return
	}
	body, id, err := readNotification(w, r)
	if err != nil {
		n.refuse(w, r, http.StatusBadRequest, "invalid_request", err)
		return
	}
	login, err := n.Find(r.Context(), id)
	if err != nil {
		n.later(w, r, err)
		return
	}
	// An unknown login, another client's and a wrong token are answered alike.
	if login == nil || login.AuthReqID != id || login.Issuer != n.Client.Issuer() || login.ClientID != n.Client.ClientID() || !login.CheckNotificationToken(bearer) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		n.refuse(w, r, http.StatusUnauthorized, "invalid_token", errNotWaiting)
		return
	}
	if !n.take(id) {
		if login.Delivery == rp.Push {
			n.later(w, r, errBusy)
			return
		}
		accepted(w)
		return
	}
	defer n.release(id)
	// A request that had found the login before another one finished it comes too late.
	switch login, err = n.Find(r.Context(), id); {
	case err != nil:
		n.later(w, r, err)
		return
	case login == nil:
		accepted(w)
		return
	}
	if login.Delivery == rp.Push {
		n.push(w, r, login, body)
		return
	}
	n.ping(w, r, login)
}

// ping answers at once, since the provider may wait for that before it has the tokens ready, and fetches them.
func (n *Notifications) ping(w http.ResponseWriter, r *http.Request, login *rp.BackchannelLogin) {
	accepted(w)
	if err := http.NewResponseController(w).Flush(); err != nil {
		n.log().LogAttrs(r.Context(), slog.LevelDebug, "middleware: a ping is answered when its tokens are there", slog.String("error", problem.Quote(err.Error())))
	}
	// The provider hangs up now, which must not end what follows.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), notificationTime)
	defer cancel()
	tokens, err := n.Client.FinishBackchannel(ctx, login)
	if err := n.Finished(context.WithoutCancel(ctx), login, tokens, err); err != nil {
		n.warn(r, "middleware: the end of a backchannel login was not saved", 0, err)
	}
}

// push answers when the tokens are verified and saved: this is the only time that they come.
func (n *Notifications) push(w http.ResponseWriter, r *http.Request, login *rp.BackchannelLogin, body []byte) {
	tokens, err := n.Client.FinishPush(r.Context(), login, body)
	if errors.Is(err, rp.ErrUnavailable) {
		n.later(w, r, err)
		return
	}
	if failed := n.Finished(context.WithoutCancel(r.Context()), login, tokens, err); failed != nil {
		n.later(w, r, failed)
		return
	}
	// The user's no, or the end of the time, is as good a notification as any.
	if err != nil && !errors.Is(err, rp.ErrDenied) && !errors.Is(err, rp.ErrExpired) && !transactionFailed(err) {
		n.refuse(w, r, http.StatusBadRequest, "invalid_request", err)
		return
	}
	accepted(w)
}

// transactionFailed reports whether err is an error that the provider has pushed (section 12).
func transactionFailed(err error) bool {
	var e *rp.ProviderError
	return errors.As(err, &e) && e.Code != ""
}

var (
	errNotPost    = errors.New("the method must be POST")
	errNoBearer   = errors.New("a notification brings its client_notification_token as a bearer token")
	errNotWaiting = errors.New("no login waits for this notification, or its token is another")
	errNoJSON     = errors.New("the body must be a JSON object with an auth_req_id")
	errBusy       = errors.New("the notification is being taken already")
)

func notificationBearer(r *http.Request) (string, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}

func readNotification(w http.ResponseWriter, r *http.Request) (body []byte, authReqID string, err error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return nil, "", errNoJSON
	}
	body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxNotification))
	if err != nil {
		return nil, "", errNoJSON
	}
	if authReqID, err = rp.ParseNotification(body); err != nil {
		return nil, "", errNoJSON
	}
	return body, authReqID, nil
}

// accepted is the answer that section 10.2 asks for.
func accepted(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

func (n *Notifications) refuse(w http.ResponseWriter, r *http.Request, status int, code string, err error) {
	n.warn(r, "middleware: notification refused", status, err)
	why := err.Error()
	if status == http.StatusBadRequest && !errors.Is(err, errNoJSON) {
		why = "the login's tokens are refused"
	}
	problem.WriteJSON(w, status, "application/json", oauthError{code, why})
}

func (n *Notifications) later(w http.ResponseWriter, r *http.Request, err error) {
	n.warn(r, "middleware: notification put off", http.StatusServiceUnavailable, err)
	w.Header().Set("Retry-After", "5")
	problem.WriteJSON(w, http.StatusServiceUnavailable, "application/json", oauthError{"temporarily_unavailable", "it can't be taken at the moment; send it again"})
}

func (n *Notifications) warn(r *http.Request, what string, status int, err error) {
	n.log().LogAttrs(r.Context(), slog.LevelWarn, what, slog.Int("status", status), slog.String("error", problem.Quote(err.Error())))
}

func (n *Notifications) log() *slog.Logger {
	if n.Logger == nil {
		return slog.Default()
	}
	return n.Logger
}

// take reports whether the caller is the one to finish the login.
func (n *Notifications) take(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy[id] {
		return false
	}
	if n.busy == nil {
		n.busy = map[string]bool{}
	}
	n.busy[id] = true
	return true
}

func (n *Notifications) release(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.busy, id)
}
