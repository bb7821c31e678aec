module github.com/latchkey-go/latchkey/examples/rpc

go 1.26.0

replace (
	github.com/latchkey-go/latchkey => ../..
	github.com/latchkey-go/latchkey/middleware/bearer/connectbearer => ../../middleware/bearer/connectbearer
	github.com/latchkey-go/latchkey/middleware/bearer/grpcbearer => ../../middleware/bearer/grpcbearer
)

require (
	connectrpc.com/connect v1.21.1
	github.com/latchkey-go/latchkey v0.0.0
	github.com/latchkey-go/latchkey/middleware/bearer/connectbearer v0.0.0-00010101000000-000000000000
	github.com/latchkey-go/latchkey/middleware/bearer/grpcbearer v0.0.0-00010101000000-000000000000
	google.golang.org/grpc v1.85.0
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/go-jose/go-jose/v4 v4.1.8 // indirect
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20261026165753-2ffab32bce7e // indirect
)
