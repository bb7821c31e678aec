module github.com/latchkey-go/latchkey/examples/replicas

go 1.26.0

replace (
	github.com/latchkey-go/latchkey => ../..
	github.com/latchkey-go/latchkey/session/redisbackend => ../../session/redisbackend
)

require (
	github.com/latchkey-go/latchkey v0.0.0-00010101000000-000000000000
	github.com/latchkey-go/latchkey/session/redisbackend v0.0.0-00010101000000-000000000000
	github.com/redis/go-redis/v9 v9.23.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/coreos/go-oidc/v3 v3.21.0 // indirect
	github.com/go-jose/go-jose/v4 v4.1.8 // indirect
	github.com/gorilla/securecookie v1.1.2 // indirect
	github.com/gorilla/sessions v1.4.0 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/oauth2 v0.37.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)
