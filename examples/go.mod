module github.com/latchkey-go/latchkey/examples

go 1.26.0

require (
	github.com/gorilla/sessions v1.4.0
	github.com/latchkey-go/latchkey v0.0.0
	golang.org/x/oauth2 v0.37.0
	rsc.io/qr v0.2.0
)

require (
	github.com/coreos/go-oidc/v3 v3.21.0 // indirect
	github.com/go-jose/go-jose/v4 v4.1.8 // indirect
	github.com/gorilla/securecookie v1.1.2 // indirect
)

replace github.com/latchkey-go/latchkey => ../
