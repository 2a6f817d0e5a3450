package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/coprocessor/signature"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// seen is what a server was told of who calls: the authorization of every call,
// and the digest of its first message.
type seen struct {
	mu    sync.Mutex
	calls []seenCall
}

type seenCall struct {
	method string
	words  []string
	digest [32]byte
}

func (s *seen) add(ctx context.Context, method string, first any) {
	data, _ := proto.MarshalOptions{Deterministic: true}.Marshal(first.(proto.Message))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, seenCall{method, metadata.ValueFromIncomingContext(ctx, "authorization"), sha256.Sum256(data)})
}

func (s *seen) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	s.add(ctx, info.FullMethod, req)
	return next(ctx, req)
}

func (s *seen) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return next(srv, &seenStream{ServerStream: stream, first: func(m any) { s.add(stream.Context(), info.FullMethod, m) }})
}

type seenStream struct {
	grpc.ServerStream
	first func(any)
}

func (s *seenStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil && s.first != nil {
		s.first(m)
		s.first = nil
	}
	return err
}

// listen serves a service and remembers who called.
func listen(t *testing.T, f tacitv1.CoprocessorServer) (address string, s *seen) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = new(seen)
	g := grpc.NewServer(grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream))
	tacitv1.RegisterCoprocessorServer(g, f)
	var wg sync.WaitGroup
	wg.Go(func() { g.Serve(l) })
	t.Cleanup(func() { g.Stop(); wg.Wait() })
	return l.Addr().String(), s
}

// everyKind makes a call of every kind: unary, and streams in both directions.
func everyKind(t *testing.T, c *Client) {
	t.Helper()
	ctx := t.Context()
	if _, err := c.Info(ctx); err != nil {
		t.Error(err)
	}
	if _, err := c.UploadEvaluationKey(ctx, bytes.NewReader([]byte("key")), nil); err != nil {
		t.Error(err)
	}
	if _, err := c.StartMigration(ctx, make([]byte, ChunkSize+1), nil); err != nil {
		t.Error(err)
	}
	if _, err := c.UploadList(ctx, []byte("list")); err != nil {
		t.Error(err)
	}
	if _, err := c.Fetch(ctx); err != nil {
		t.Error(err)
	}
	if _, err := c.Watch(ctx, "j", nil); err != nil {
		t.Error(err)
	}
}

func ended() *fake {
	return &fake{events: [][]*tacitv1.JobEvent{{{Event: &tacitv1.JobEvent_Job{Job: &tacitv1.Job{State: tacitv1.JobState_JOB_STATE_SUCCEEDED}}}}}}
}

func TestToken(t *testing.T) {
	address, s := listen(t, ended())
	c, err := Dial(address, Options{Token: "secret", Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	everyKind(t, c)
	if len(s.calls) != 8 { // an upload of a key is two
		t.Fatalf("%d calls", len(s.calls))
	}
	for _, call := range s.calls {
		if !slices.Equal(call.words, []string{"Bearer secret"}) {
			t.Errorf("%s: %q", call.method, call.words)
		}
	}
}

func TestSigner(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for option, audience := range map[string]string{"": signature.DefaultAudience, "here": "here"} {
		address, s := listen(t, ended())
		c, err := Dial(address, Options{Signer: private, Audience: option, Attempts: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		everyKind(t, c)
		if len(s.calls) != 8 { // an upload of a key is two
			t.Fatalf("%d calls", len(s.calls))
		}
		nonces := make(map[[signature.NonceSize]byte]bool)
		for _, call := range s.calls {
			if len(call.words) != 1 {
				t.Fatalf("%s: %q", call.method, call.words)
			}
			sig, err := signature.Parse(call.words[0])
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(sig.Key[:], public) || !sig.Verify(signature.Call{Audience: audience, Method: call.method, Digest: call.digest}) {
				t.Errorf("%s: the signature is wrong", call.method)
			}
			if d := time.Since(sig.Time); d < -time.Second || d > time.Minute {
				t.Errorf("%s: signed %v ago", call.method, d)
			}
			nonces[sig.Nonce] = true
		}
		if len(nonces) != len(s.calls) {
			t.Error("a nonce comes twice")
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	address, s := listen(t, ended())
	c, err := Dial(address, Options{Signer: key, Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Info(t.Context()); err == nil || len(s.calls) != 0 {
		t.Error("signed with an RSA key")
	}
}

func TestNobody(t *testing.T) {
	address, s := listen(t, ended())
	c, err := Dial(address, Options{Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	everyKind(t, c)
	for _, call := range s.calls {
		if len(call.words) != 0 {
			t.Errorf("%s: %q", call.method, call.words)
		}
	}
}

// TestDialSecrets: a token goes to other machines with TLS only.
func TestDialSecrets(t *testing.T) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	insecure, options := new(InsecureError), new(OptionsError)
	for _, c := range []struct {
		name, target string
		opts         Options
		want         any
	}{
		{"token, this machine", "127.0.0.1:1", Options{Token: "x"}, nil},
		{"token, another machine", "example.org:1", Options{Token: "x"}, &insecure},
		{"token, another machine, told to", "example.org:1", Options{Token: "x", InsecurePlaintext: true}, &insecure},
		{"token, TLS", "example.org:1", Options{Token: "x", TLS: &tls.Config{}}, nil},
		{"signatures", "example.org:1", Options{Signer: private, InsecurePlaintext: true}, nil},
		{"both", "127.0.0.1:1", Options{Token: "x", Signer: private}, &options},
	} {
		client, err := Dial(c.target, c.opts)
		if c.want == nil && err != nil || c.want != nil && !errors.As(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if client != nil {
			client.Close()
		}
	}
}

func TestTLSFiles(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := TLSFiles{ServerName: "n"}.Config()
	if err != nil || c.MinVersion != tls.VersionTLS13 || c.ServerName != "n" || c.InsecureSkipVerify {
		t.Errorf("%v, %v", c, err)
	}
	for _, f := range []TLSFiles{{CA: junk + "x"}, {Cert: junk + "x", Key: junk}} {
		if _, err := f.Config(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: %v", f, err)
		}
	}
	for _, f := range []TLSFiles{{CA: junk}, {Cert: junk, Key: junk}, {Cert: junk}} {
		if _, err := f.Config(); err == nil {
			t.Errorf("%v is a configuration", f)
		}
	}
}

// TestAccess checks what is asked of the service.
func TestAccess(t *testing.T) {
	f := new(accessFake)
	address, _ := listen(t, f)
	c, err := Dial(address, Options{Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h := [32]byte{1}
	if a, err := c.Grant(t.Context(), Handle(h), "bob", tacitv1.Right_RIGHT_READ); err != nil || !bytes.Equal(a.Resource.GetHandle(), h[:]) {
		t.Errorf("%v, %v", a, err)
	}
	if a, err := c.Revoke(t.Context(), Key(h), "bob", tacitv1.Right_RIGHT_GRANT, tacitv1.Right_RIGHT_READ); err != nil || !bytes.Equal(a.Resource.GetKeyId(), h[:]) {
		t.Errorf("%v, %v", a, err)
	}
	if a, err := c.Access(t.Context(), Handle(h)); err != nil || !bytes.Equal(a.Resource.GetHandle(), h[:]) {
		t.Errorf("%v, %v", a, err)
	}
	want := []string{"grant bob [RIGHT_READ]", "revoke bob [RIGHT_GRANT RIGHT_READ]", "get"}
	if !slices.Equal(f.asked, want) {
		t.Errorf("%q, want %q", f.asked, want)
	}
}

type accessFake struct {
	tacitv1.UnimplementedCoprocessorServer
	asked []string
}

func (f *accessFake) Grant(_ context.Context, r *tacitv1.GrantRequest) (*tacitv1.Access, error) {
	f.asked = append(f.asked, fmt.Sprintf("grant %s %v", r.Grant.Principal, r.Grant.Rights))
	return &tacitv1.Access{Resource: r.Resource}, nil
}

func (f *accessFake) Revoke(_ context.Context, r *tacitv1.RevokeRequest) (*tacitv1.Access, error) {
	f.asked = append(f.asked, fmt.Sprintf("revoke %s %v", r.Grant.Principal, r.Grant.Rights))
	return &tacitv1.Access{Resource: r.Resource}, nil
}

func (f *accessFake) GetAccess(_ context.Context, r *tacitv1.GetAccessRequest) (*tacitv1.Access, error) {
	f.asked = append(f.asked, "get")
	return &tacitv1.Access{Resource: r.Resource}, nil
}
