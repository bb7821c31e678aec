package service

import (
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// Relay is a TCP proxy on the loopback, which makes what it carries late.
type Relay struct {
	Addr string
	slow atomic.Bool
}

// NewRelay stands before the server at addr until the test ends.
func NewRelay(t testing.TB, addr string) *Relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	r := &Relay{Addr: listener.Addr().String()}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				server, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				defer server.Close()
				go r.carry(server, client)
				r.carry(client, server)
			}()
		}
	}()
	return r
}

// Slow holds each packet back for 50 to 100 ms, each way, or no longer.
func (r *Relay) Slow(slow bool) { r.slow.Store(slow) }

// carry ends, and ends the other direction, with either connection.
func (r *Relay) carry(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if r.slow.Load() {
				time.Sleep(50*time.Millisecond + rand.N(50*time.Millisecond))
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
