package clientauth

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxForm bounds the form read back from a request, in bytes. Our own requests are the only ones that come here.
const maxForm = 1 << 20

// Transport authenticates each form-encoded POST before it hands it to Base, with a fresh Request for each attempt.
// It is safe for concurrent use.
type Transport struct {
	Method   Method
	Issuer   string
	ClientID string
	Base     http.RoundTripper
}

// RoundTrip implements http.RoundTripper. It leaves req as it is.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	form, err := readForm(req)
	if err != nil {
		return nil, err
	}
	r := &Request{
		Issuer:   t.Issuer,
		Endpoint: req.URL.String(),
		ClientID: t.ClientID,
		Form:     form,
		Header:   req.Header.Clone(),
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if err := t.Method.Authenticate(req.Context(), r); err != nil {
		return nil, fmt.Errorf("clientauth: %s: %w", t.Method.Name(), err)
	}
	out, err := http.NewRequestWithContext(req.Context(), http.MethodPost, r.Endpoint, strings.NewReader(r.Form.Encode()))
	if err != nil {
		return nil, errors.New("clientauth: the endpoint is no URL")
	}
	out.Header = r.Header
	out.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return t.Base.RoundTrip(out)
}

func readForm(req *http.Request) (url.Values, error) {
	if req.Body == nil {
		return url.Values{}, nil
	}
	defer req.Body.Close()
	body, err := io.ReadAll(io.LimitReader(req.Body, maxForm+1))
	if err != nil {
		return nil, fmt.Errorf("clientauth: reading the form: %w", err)
	}
	if len(body) > maxForm {
		return nil, fmt.Errorf("clientauth: the form is longer than %d bytes", maxForm)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		// url's own error quotes the text, which holds codes and tokens.
		return nil, errors.New("clientauth: the body is not form-encoded")
	}
	return form, nil
}
