package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"
)

// line is one connection. An http.Client would try a request again whose connection has ended, and hide that.
type line struct {
	address, path string
	conn          net.Conn
	r             *bufio.Reader
	out           []byte
}

// slow is longer than anything an API may take.
const slow = 20 * time.Second

// get sends a request with token and returns its answer's status, 0 with an error.
func (l *line) get(token string) (status int, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.conn == nil {
		if l.conn, err = net.DialTimeout("tcp", l.address, slow); err != nil {
			return 0, err
		}
		l.r = bufio.NewReader(l.conn)
	}
	if err := l.conn.SetDeadline(time.Now().Add(slow)); err != nil {
		return 0, err
	}
	l.out = append(l.out[:0], "GET "...)
	l.out = append(l.out, l.path...)
	l.out = append(l.out, " HTTP/1.1\r\nHost: "...)
	l.out = append(l.out, l.address...)
	l.out = append(l.out, "\r\nAuthorization: Bearer "...)
	l.out = append(l.out, token...)
	l.out = append(l.out, "\r\n\r\n"...)
	if _, err := l.conn.Write(l.out); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(l.r, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}

func (l *line) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}
