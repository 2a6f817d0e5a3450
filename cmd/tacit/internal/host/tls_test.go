package host

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/certtest"
	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/client"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// secured is a running server with certificates in a folder: ca.pem, server.pem
// and server.key.
type secured struct {
	dir, address string
	ca           *certtest.Authority
}

func (s *secured) path(name string) string { return filepath.Join(s.dir, name) }

// secure runs a server until the test ends. Its callers are alice, who has the
// token that is returned, and carol, who has a certificate.
func secure(t *testing.T, change func(*Config, *secured)) (*secured, string) {
	t.Helper()
	s := &secured{dir: t.TempDir()}
	var err error
	s.ca, err = certtest.NewAuthority(s.path("ca.pem"))
	check(t, err)
	check(t, s.ca.Server(s.path("server.pem"), s.path("server.key")))
	token, _, err := access.Issue(s.path("callers.json"), access.Credential{Principal: "alice", Roles: []access.Role{access.User}})
	check(t, err)
	_, err = access.Register(s.path("callers.json"), access.Credential{Principal: "carol", Kind: access.Certificate, Value: "CN=carol,O=Test"})
	check(t, err)
	c := config(t)
	c.Callers, err = access.OpenCallers(s.path("callers.json"), slog.New(slog.DiscardHandler))
	check(t, err)
	c.TLS = &TLSFiles{Cert: s.path("server.pem"), Key: s.path("server.key")}
	if change != nil {
		change(&c, s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- Run(ctx, c, func(address string) { ready <- address }) }()
	select {
	case s.address = <-ready:
	case err := <-ended:
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		check(t, <-ended)
	})
	return s, token
}

// who asks the server who we are.
func who(t *testing.T, address string, files *client.TLSFiles, token string) (string, error) {
	t.Helper()
	opts := client.Options{Token: token, Attempts: 1}
	if files != nil {
		var err error
		opts.TLS, err = files.Config()
		check(t, err)
	}
	c, err := client.Dial(address, opts)
	check(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	info, err := c.Info(ctx)
	return info.GetPrincipal(), err
}

// codeOf is the code of a client's error, OK for none.
func codeOf(err error) codes.Code {
	var e *client.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return codes.OK
}

func TestTLS(t *testing.T) {
	s, token := secure(t, nil)
	_, err := certtest.NewAuthority(s.path("other.pem"))
	check(t, err)
	ca := s.path("ca.pem")
	for _, c := range []struct {
		name  string
		files *client.TLSFiles
		token string
		want  string
		code  codes.Code
	}{
		{"token", &client.TLSFiles{CA: ca}, token, "alice", codes.OK},
		{"by another name", &client.TLSFiles{CA: ca, ServerName: "tacit.example"}, token, "alice", codes.OK},
		{"no token", &client.TLSFiles{CA: ca}, "", "", codes.Unauthenticated},
		{"plain text", nil, token, "", codes.Unavailable},
		{"authorities of the system", &client.TLSFiles{}, token, "", codes.Unavailable},
		{"another authority", &client.TLSFiles{CA: s.path("other.pem")}, token, "", codes.Unavailable},
		{"a name it does not have", &client.TLSFiles{CA: ca, ServerName: "example.org"}, token, "", codes.Unavailable},
	} {
		if got, err := who(t, s.address, c.files, c.token); got != c.want || codeOf(err) != c.code {
			t.Errorf("%s: %q, %v, want %q, %v", c.name, got, err, c.want, c.code)
		}
	}
	conf, err := client.TLSFiles{CA: ca}.Config()
	check(t, err)
	conf.MinVersion, conf.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if conn, err := tls.Dial("tcp", s.address, conf); err == nil {
		conn.Close()
		t.Error("TLS 1.2 is spoken")
	}

	// Another certificate counts from the next connection on, a broken file for
	// none.
	other, err := certtest.NewAuthority(s.path("other.pem"))
	check(t, err)
	check(t, other.Server(s.path("server.pem"), s.path("server.key")))
	time.Sleep(1100 * time.Millisecond)
	after := &client.TLSFiles{CA: s.path("other.pem")}
	if got, err := who(t, s.address, after, token); got != "alice" {
		t.Errorf("after a change: %v", err)
	}
	if _, err := who(t, s.address, &client.TLSFiles{CA: ca}, token); codeOf(err) != codes.Unavailable {
		t.Errorf("the old authority: %v", err)
	}
	check(t, os.WriteFile(s.path("server.pem"), []byte("x"), 0o600))
	time.Sleep(1100 * time.Millisecond)
	if got, err := who(t, s.address, after, token); got != "alice" {
		t.Errorf("after a broken file: %v", err)
	}
}

func TestClientCertificates(t *testing.T) {
	s, token := secure(t, func(c *Config, s *secured) { c.TLS.ClientCA = s.path("ca.pem") })
	other, err := certtest.NewAuthority(s.path("other.pem"))
	check(t, err)
	check(t, s.ca.Client(s.path("carol.pem"), s.path("carol.key"), "carol", false))
	check(t, s.ca.Client(s.path("old.pem"), s.path("old.key"), "carol", true))
	check(t, s.ca.Client(s.path("mallory.pem"), s.path("mallory.key"), "mallory", false))
	check(t, other.Client(s.path("forged.pem"), s.path("forged.key"), "carol", false))
	files := func(name string) *client.TLSFiles {
		return &client.TLSFiles{CA: s.path("ca.pem"), Cert: s.path(name + ".pem"), Key: s.path(name + ".key")}
	}
	for _, c := range []struct {
		name  string
		files *client.TLSFiles
		token string
		want  string
		code  codes.Code
	}{
		{"certificate", files("carol"), "", "carol", codes.OK},
		{"a token counts more", files("carol"), token, "alice", codes.OK},
		{"a bad token counts more", files("carol"), token[:len(token)-4] + "AAAA", "", codes.Unauthenticated},
		{"nobody's certificate", files("mallory"), "", "", codes.Unauthenticated},
		{"nobody's certificate and a token", files("mallory"), token, "alice", codes.OK},
		{"none", &client.TLSFiles{CA: s.path("ca.pem")}, token, "", codes.Unavailable},
		{"expired", files("old"), token, "", codes.Unavailable},
		{"of another authority", files("forged"), token, "", codes.Unavailable},
		{"the server's", files("server"), token, "", codes.Unavailable},
	} {
		if got, err := who(t, s.address, c.files, c.token); got != c.want || codeOf(err) != c.code {
			t.Errorf("%s: %q, %v, want %q, %v", c.name, got, err, c.want, c.code)
		}
	}
}

func TestTLSRefuses(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	ca, err := certtest.NewAuthority(path("ca.pem"))
	check(t, err)
	check(t, ca.Server(path("a.pem"), path("a.key")))
	check(t, ca.Server(path("b.pem"), path("b.key")))
	check(t, os.WriteFile(path("junk"), []byte("junk"), 0o600))
	for _, c := range []struct {
		name  string
		files TLSFiles
		want  func(error) bool
	}{
		{"no certificate", TLSFiles{Cert: path("none"), Key: path("a.key")}, func(err error) bool { return errors.Is(err, fs.ErrNotExist) }},
		{"no key", TLSFiles{Cert: path("a.pem"), Key: path("none")}, func(err error) bool { return errors.Is(err, fs.ErrNotExist) }},
		{"another's key", TLSFiles{Cert: path("a.pem"), Key: path("b.key")}, isTLSError},
		{"junk", TLSFiles{Cert: path("junk"), Key: path("a.key")}, isTLSError},
		{"no authority", TLSFiles{Cert: path("a.pem"), Key: path("a.key"), ClientCA: path("none")}, func(err error) bool { return errors.Is(err, fs.ErrNotExist) }},
		{"junk authority", TLSFiles{Cert: path("a.pem"), Key: path("a.key"), ClientCA: path("junk")}, isTLSError},
	} {
		conf := config(t)
		conf.TLS = &c.files
		if err := Run(t.Context(), conf, nil); !c.want(err) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	conf := config(t)
	conf.Listen, conf.TLS = ":0", &TLSFiles{Cert: path("a.pem"), Key: path("a.key")}
	if err := Run(t.Context(), conf, nil); !errors.As(err, new(*OpenError)) {
		t.Errorf("everyone an administrator: %v", err)
	}
}

func isTLSError(err error) bool { return errors.As(err, new(*TLSError)) }

// TestOpenToOthers: with TLS and callers, other machines may reach the server.
func TestOpenToOthers(t *testing.T) {
	s, token := secure(t, func(c *Config, _ *secured) { c.Listen = ":0" })
	_, port, err := net.SplitHostPort(s.address)
	check(t, err)
	if got, err := who(t, net.JoinHostPort("127.0.0.1", port), &client.TLSFiles{CA: s.path("ca.pem")}, token); got != "alice" {
		t.Errorf("%q, %v", got, err)
	}
}
