package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/latchkey-go/latchkey/examples/internal/program"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"rsc.io/qr"
)

const about = `Usage: cli [flags] provider | login | device | whoami | logout

  provider  starts a provider to try the others with, on a loopback address
  login     logs in through the system's browser
  device    logs in through the browser of another device
  whoami    asks the provider, refreshing tokens that are due
  logout    revokes the tokens and forgets them

Flags:
`

func run(ctx context.Context, args []string, out io.Writer, open func(context.Context, string) error) error {
	a := &app{out: out, open: open}
	var caFile string
	flags := flag.NewFlagSet("cli", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&a.cfg.Issuer, "issuer", "http://127.0.0.1:8090", "the exact issuer `URL`")
	flags.StringVar(&a.cfg.ClientID, "client-id", "cli-example", "the client's `ID`, that of a public client with the redirect URI http://127.0.0.1/callback")
	flags.StringVar(&a.folder, "dir", "", "`folder` to keep the tokens in; none: one of your configuration's")
	flags.StringVar(&caFile, "ca-file", "", "PEM `file` of certificate authorities to trust for the provider")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(out)
		fmt.Fprint(out, about)
		flags.PrintDefaults()
		return program.ErrHelp
	case err != nil:
		return program.UsageError{Err: fmt.Errorf("%w; run with -h to see the flags", err)}
	}
	commands := map[string]func(context.Context) error{"provider": a.provider, "login": a.login, "device": a.device, "whoami": a.whoami, "logout": a.logout}
	command := commands[flags.Arg(0)]
	if flags.NArg() != 1 || command == nil {
		return program.UsageError{Err: errors.New("say one of provider, login, device, whoami and logout; run with -h to see what they do")}
	}
	a.cfg.InsecureLoopbackHTTP = strings.HasPrefix(a.cfg.Issuer, "http://")
	if err := program.CheckIssuer(a.cfg.Issuer, true); err != nil {
		return program.UsageError{Err: err}
	}
	var err error
	if a.cfg.HTTPClient, err = program.Client(caFile); err != nil {
		return program.UsageError{Err: err}
	}
	if a.folder == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return program.UsageError{Err: fmt.Errorf("%w; say -dir", err)}
		}
		a.folder = filepath.Join(config, "latchkey-cli-example")
	}
	return command(ctx)
}

// provider is one to try the program with: it listens where -issuer says.
func (a *app) provider(ctx context.Context) error {
	address, plain := strings.CutPrefix(a.cfg.Issuer, "http://")
	if !plain || program.CheckAddr(address) != nil {
		return program.UsageError{Err: errors.New("provider needs an -issuer such as http://127.0.0.1:8090")}
	}
	provider, err := rptest.New(rptest.Options{
		Issuer: a.cfg.Issuer, Interactive: true, Consent: true, ShowHints: true,
		Clients: []rptest.Client{{ID: a.cfg.ClientID, Name: "The example of a command line", AuthMethod: "none"}},
	})
	if err != nil {
		return program.UsageError{Err: err}
	}
	listener, err := program.Listen(address)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "A provider with the users alice and bob is at %s. In another terminal:\n\n    go run ./examples/cli login\n    go run ./examples/cli whoami\n    go run ./examples/cli logout\n\nStop it with Ctrl-C; its users' logins end with it.\n", a.cfg.Issuer)
	return program.Serve(ctx, listener, provider)
}

// code draws a QR code with half blocks, two rows of it in one line of text, on a light ground whatever the terminal's is.
func code(text string) string {
	image, err := qr.Encode(text, qr.L)
	if err != nil {
		return ""
	}
	const margin = 2
	var b strings.Builder
	for y := -margin; y < image.Size+margin; y += 2 {
		b.WriteString("\x1b[30;107m")
		for x := -margin; x < image.Size+margin; x++ {
			b.WriteString([]string{" ", "▄", "▀", "█"}[2*bit(image.Black(x, y))+bit(image.Black(x, y+1))])
		}
		b.WriteString("\x1b[0m\n")
	}
	return b.String()
}

func bit(black bool) int {
	if black {
		return 1
	}
	return 0
}
