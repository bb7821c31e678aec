// Command cli is a program on a command line that logs its user in once and works in their name from then on: the tokens are kept in files, sealed, and refreshed
// when they are due. Start its provider in one terminal, and use it in another:
//
//	go run ./examples/cli provider
//	go run ./examples/cli login     # or: device
//	go run ./examples/cli whoami
//	go run ./examples/cli logout
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/latchkey-go/latchkey/examples/internal/program"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/native"
	"github.com/latchkey-go/latchkey/rp/store"
)

func main() {
	program.Main("cli", func(ctx context.Context) error { return run(ctx, os.Args[1:], os.Stdout, nil) })
}

// app is the program behind its flags: one user, one place for the tokens.
type app struct {
	cfg    rp.Config
	folder string
	out    io.Writer
	open   func(context.Context, string) error // the browser; nil: the system's
}

func (a *app) source(ctx context.Context) (*rp.TokenSource, error) {
	client, err := rp.New(a.cfg)
	if err != nil {
		return nil, err
	}
	err = store.CreateKeyFile(a.folder + "/key")
	keys, keysErr := store.KeyringFromFile(a.folder + "/key")
	files, filesErr := store.NewFile(a.folder + "/tokens")
	if err := errors.Join(err, keysErr, filesErr); err != nil {
		return nil, err
	}
	tokens, err := rp.NewTokenStore(rp.TokenStoreConfig{Backend: files, Keyring: keys})
	if err != nil {
		return nil, err
	}
	return client.TokenSource(ctx, tokens, "me"), nil
}

var offline = []string{"offline_access"}

// login goes through the system's browser.
func (a *app) login(ctx context.Context) error {
	if _, err := a.source(ctx); err != nil {
		return err // before the user is sent anywhere
	}
	_, tokens, err := native.Login(ctx, a.cfg, native.Options{Open: a.open, Out: a.out, Params: rp.AuthParams{Scopes: offline}})
	return a.keep(ctx, tokens, err)
}

// device is for a machine without a browser: the user confirms on a telephone.
func (a *app) device(ctx context.Context) error {
	client, err := rp.New(a.cfg)
	if err != nil {
		return err
	}
	if _, err := a.source(ctx); err != nil {
		return err
	}
	login, err := client.Device(ctx, rp.DeviceRequest{Scopes: append(client.Scopes(), offline...)})
	if err != nil {
		return err
	}
	if login.VerificationURIComplete != "" {
		fmt.Fprintln(a.out, code(login.VerificationURIComplete))
	}
	fmt.Fprintf(a.out, "Scan this, or open %s and enter %s.\n", login.VerificationURI, login.UserCode)
	tokens, err := client.FinishDevice(ctx, login)
	return a.keep(ctx, tokens, err)
}

func (a *app) keep(ctx context.Context, tokens *rp.Tokens, err error) error {
	if err != nil {
		return err
	}
	source, err := a.source(ctx)
	if err != nil {
		return err
	}
	if err := source.Save(ctx, tokens); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "You are logged in as %s.\n", tokens.IDToken.Subject)
	return nil
}

// whoami asks the provider, with the tokens that are kept.
func (a *app) whoami(ctx context.Context) error {
	source, err := a.source(ctx)
	if err != nil {
		return err
	}
	client, err := rp.New(a.cfg)
	if err != nil {
		return err
	}
	metadata, err := client.Metadata(ctx)
	if err != nil {
		return err
	}
	api := &http.Client{Transport: &rp.Transport{Source: source}}
	resp, err := api.Get(metadata.UserinfoEndpoint)
	if err == nil {
		defer resp.Body.Close()
	}
	if errors.Is(err, rp.ErrReconnect) || err == nil && resp.StatusCode == http.StatusUnauthorized {
		return errors.New("you are not logged in (any more); run: go run ./examples/cli login")
	}
	if err != nil {
		return err
	}
	var claims struct{ Sub, Name, Email string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&claims); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the provider answers %s", resp.Status)
	}
	token, err := source.TokenContext(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s <%s>, subject %s; the access token is good until %s.\n", claims.Name, claims.Email, claims.Sub, token.Expiry.Local().Format("15:04:05"))
	return nil
}

func (a *app) logout(ctx context.Context) error {
	source, err := a.source(ctx)
	if err != nil {
		return err
	}
	if err := source.Revoke(ctx); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "You are logged out.")
	return nil
}
