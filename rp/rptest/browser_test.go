package rptest_test

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

func TestBrowserKeepsTheCookiesThatABrowserWould(t *testing.T) {
	for name, test := range map[string]struct {
		origin string
		cookie string
		want   bool
	}{
		"plain":                        {"http://app.example", "a=1", true},
		"secure over https":            {"https://app.example", "a=1; Secure", true},
		"secure over http":             {"http://app.example", "a=1; Secure", false},
		"secure on loopback":           {"http://127.0.0.1", "a=1; Secure", true},
		"secure on localhost":          {"http://localhost", "a=1; Secure", true},
		"host prefix":                  {"https://app.example", "__Host-a=1; Secure; Path=/", true},
		"host prefix without Secure":   {"https://app.example", "__Host-a=1; Path=/", false},
		"host prefix with a path":      {"https://app.example", "__Host-a=1; Secure; Path=/x", false},
		"host prefix with a domain":    {"https://app.example", "__Host-a=1; Secure; Path=/; Domain=app.example", false},
		"secure prefix":                {"https://app.example", "__Secure-a=1; Secure", true},
		"secure prefix without":        {"https://app.example", "__Secure-a=1", false},
		"SameSite None":                {"https://app.example", "a=1; SameSite=None; Secure", true},
		"SameSite None not Secure":     {"https://app.example", "a=1; SameSite=None", false},
		"as long as may be":            {"https://app.example", "a=" + strings.Repeat("x", 4095), true},
		"too long":                     {"https://app.example", "a=" + strings.Repeat("x", 4096), false},
		"of another domain altogether": {"https://app.example", "a=1; Domain=op.example", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rptest.Options{})
			u, _ := url.Parse(test.origin)
			r.p.HandleHost(u.Host, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Set-Cookie", test.cookie) }))
			b := r.p.Browser()
			if _, err := b.Get(test.origin + "/"); err != nil {
				t.Fatal(err)
			}
			if got := len(b.Cookies(test.origin+"/")) == 1; got != test.want {
				t.Errorf("kept: %v", got)
			}
		})
	}
}

func TestBrowserWithholdsSameSiteCookies(t *testing.T) {
	p := newRig(t, rptest.Options{}).p
	var got []string
	p.HandleHost("shop.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/set" {
			for _, c := range []string{"none=1; SameSite=None; Secure", "lax=1; SameSite=Lax", "strict=1; SameSite=Strict", "unset=1"} {
				w.Header().Add("Set-Cookie", c)
			}
			return
		}
		got = nil
		for _, c := range r.Cookies() {
			got = append(got, c.Name)
		}
		slices.Sort(got)
	}))
	page := func(method string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `<form action="https://shop.test/x" method=%s><input name="a" value="1"></form>`, method)
		}
	}
	evil := http.NewServeMux()
	evil.Handle("/get", page("get"))
	evil.Handle("/post", page("post"))
	evil.Handle("/redirect", http.RedirectHandler("https://shop.test/x", http.StatusFound))
	p.HandleHost("evil.test", evil)
	p.HandleHost("www.shop.test", evil)
	b := p.Browser()
	if _, err := b.Get("https://shop.test/set"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ from, want string }{
		{"https://www.shop.test/post", "[lax none strict unset]"},
		{"https://evil.test/get", "[lax none unset]"},
		{"https://evil.test/post", "[none]"},
	} {
		page, err := b.Get(test.from)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Submit(page, "", nil); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("from %s: %v, want %s", test.from, got, test.want)
		}
	}
	start, err := b.Get("https://evil.test/get")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Follow(start, "/redirect"); err != nil || fmt.Sprint(got) != "[lax none unset]" {
		t.Errorf("by a redirect: %v %v", got, err)
	}
}

func TestBrowserReadsForms(t *testing.T) {
	p := newRig(t, rptest.Options{}).p
	var sent url.Values
	p.HandleHost("app.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_ = r.ParseForm()
			sent = r.PostForm
			return
		}
		io.WriteString(w, `<!doctype html><script>if (1 < 2 && "<form>") {}</script><!-- <form> -->
<FORM method=POST action='?next=%2F&amp;x'><p>Unclosed <br> &nbsp; & raw
<input name=hidden type=hidden value="a &quot;b&quot;"><input type=checkbox name=off value=1><input type=checkbox name=on value=1 checked>
<input name="empty" required autofocus><textarea name="text">one &lt; two</textarea><input type=reset name=r value=x>
<button id=first name=do value=first>1</button><button id=second name=do value=second>2</button><button type=button name=not>3</button></FORM>
<input name="outside" value="1"><form id="last"></form>`)
	}))
	b := p.Browser()
	page, err := b.Get("https://app.example/")
	if err != nil || len(page.Forms) != 2 || page.Forms[1].ID != "last" {
		t.Fatalf("%+v %v", page, err)
	}
	if _, err := b.Submit(page, "second", url.Values{"empty": {"full"}}); err != nil {
		t.Fatal(err)
	}
	want := url.Values{"hidden": {`a "b"`}, "on": {"1"}, "empty": {"full"}, "text": {"one < two"}, "do": {"second"}}
	if !maps.EqualFunc(sent, want, slices.Equal) {
		t.Errorf("sent %v, want %v", sent, want)
	}
	for _, test := range []struct {
		button string
		values url.Values
	}{{"third", nil}, {"", url.Values{"unknown": {"x"}}}} {
		if _, err := b.Submit(page, test.button, test.values); err == nil {
			t.Errorf("%v was sent", test)
		}
	}
}

func TestBrowserGivesUpOnALoop(t *testing.T) {
	p := newRig(t, rptest.Options{}).p
	p.HandleHost("app.example", http.RedirectHandler("/again", http.StatusFound))
	if page, err := p.Browser().Get("https://app.example/"); err == nil || !strings.Contains(err.Error(), "more than 20") {
		t.Errorf("%v %v", page, err)
	}
}

func TestBrowserKeepsMethodAndBodyWhereARedirectSaysSo(t *testing.T) {
	for status, want := range map[int]string{302: "GET ", 303: "GET ", 307: "POST a=1", 308: "POST a=1"} {
		p := newRig(t, rptest.Options{}).p
		var got string
		mux := http.NewServeMux()
		mux.Handle("/", http.RedirectHandler("/there", status))
		mux.HandleFunc("/there", func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got = r.Method + " " + string(body)
		})
		p.HandleHost("app.example", mux)
		page, err := p.Browser().PostForm("https://app.example/", url.Values{"a": {"1"}})
		if err != nil || got != want || len(page.Visited) != 2 {
			t.Errorf("%d: %q %v", status, got, err)
		}
	}
}

func TestBrowserReachesSocketsToo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "by socket") })}
	go server.Serve(listener) // ends with Close
	defer server.Close()
	page, err := newRig(t, rptest.Options{}).p.Browser().Get("http://" + listener.Addr().String() + "/")
	if err != nil || page.Body != "by socket" {
		t.Errorf("%v %v", page, err)
	}
}

func FuzzFormsNeverPanic(f *testing.F) {
	for _, seed := range []string{
		"", "<form", "<form><input name=a", `<form><textarea name="a">x</textarea></form>`, "<form>&bogus;<input name='a' value='&amp;'></form>",
		"<form></form></form><input>", "<!doctype html><form><script><form></script>", "<form><select name=a><option selected>1</select>", "<form>\xff<input name=\xff></form>",
	} {
		f.Add(seed)
	}
	p, err := rptest.New(rptest.Options{Issuer: "https://op.example"})
	if err != nil {
		f.Fatal(err)
	}
	var body string
	p.HandleHost("app.example", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }))
	f.Fuzz(func(t *testing.T, text string) {
		body = text
		page, err := p.Browser().Get("https://app.example/")
		if err != nil {
			t.Fatal(err)
		}
		if page.Body != text {
			t.Errorf("body %q", page.Body)
		}
		for _, form := range page.Forms {
			if form.Values == nil {
				t.Error("a form without values")
			}
		}
	})
}
