module github.com/latchkey-go/latchkey/middleware/bearer/connectbearer

go 1.26.0

require (
	connectrpc.com/connect v1.21.1
	github.com/latchkey-go/latchkey v0.0.0
	google.golang.org/genproto/googleapis/rpc v0.0.0-20261026165753-2ffab32bce7e
	google.golang.org/protobuf v1.36.12
)

require github.com/go-jose/go-jose/v4 v4.1.8 // indirect

replace github.com/latchkey-go/latchkey => ../../..
