package rp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// A command-line tool: the user logs in with the browser of a telephone.
func ExampleClient_Device() {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example", Clients: []rptest.Client{{ID: "cli"}}, PollInterval: time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: "cli", HTTPClient: op.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background() // signal.NotifyContext, in a real one
	device, err := client.Device(ctx, rp.DeviceRequest{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("Open %s and enter the code you see here (%d characters).\n", device.VerificationURI, len(device.UserCode))

	_ = op.ApproveDevice(device.UserCode, "alice") // the user's part

	tokens, err := client.FinishDevice(ctx, device)
	switch {
	case errors.Is(err, rp.ErrDenied):
		fmt.Println("You said no.")
	case errors.Is(err, rp.ErrExpired):
		fmt.Println("That took too long; start again.")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println("Hello,", tokens.IDToken.Subject)
	}
	// Output:
	// Open https://op.example/device and enter the code you see here (9 characters).
	// Hello, alice
}

// A till: the customer confirms on a telephone that the provider knows.
func ExampleClient_Backchannel() {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example", PollInterval: time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: op.ClientID(), ClientSecret: op.ClientSecret(), HTTPClient: op.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	login, err := client.Backchannel(ctx, rp.BackchannelRequest{LoginHint: "alice@example.com", BindingMessage: "W4SCT"})
	if err != nil {
		fmt.Println(err) // errors.As: *rp.ProviderError with Code unknown_user_id, missing_user_code ...
		return
	}
	fmt.Println("Does your telephone show", op.BindingMessages("alice"), "too?")

	_ = op.ApproveBackchannel(ctx, "alice") // the user's part

	tokens, err := client.FinishBackchannel(ctx, login)
	if err != nil {
		fmt.Println(err) // errors.Is: ErrDenied, ErrExpired
		return
	}
	fmt.Println("confirmed:", tokens.IDToken.Subject)
	// Output:
	// Does your telephone show [W4SCT] too?
	// confirmed: alice
}

// Tokens that the provider pushes; middleware.Notifications does this for a server.
func ExampleClient_FinishPush() {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example", Clients: []rptest.Client{
		{ID: "shop", Secret: "secret", TokenDelivery: "push", NotificationURI: "https://shop.example/notified"},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: "shop", ClientSecret: "secret", HTTPClient: op.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	var body []byte // of the notification, whose bearer token login.CheckNotificationToken has found good
	op.HandleHost("shop.example", keepBody(&body))
	ctx := context.Background()
	login, err := client.Backchannel(ctx, rp.BackchannelRequest{LoginHint: "alice", Delivery: rp.Push})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = op.ApproveBackchannel(ctx, "alice")
	tokens, err := client.FinishPush(ctx, login, body)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("confirmed:", tokens.IDToken.Subject)
	// Output: confirmed: alice
}

func keepBody(to *[]byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		*to = body
		w.WriteHeader(http.StatusNoContent)
	}
}
