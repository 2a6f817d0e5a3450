package host

import (
	"context"
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

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/certtest"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

func TestStoreConfig(t *testing.T) {
	member := StoreConfig{Node: "a", ClusterListen: "127.0.0.1:1", Peers: []string{"127.0.0.1:2"}, SecretFile: "secret"}
	for name, change := range map[string]func(*StoreConfig){
		"both":               func(c *StoreConfig) { c.URLs = []string{"nats://127.0.0.1:1"} },
		"no peers":           func(c *StoreConfig) { c.Peers = nil },
		"no address":         func(c *StoreConfig) { c.ClusterListen = "" },
		"no name":            func(c *StoreConfig) { c.Node = "" },
		"no secret":          func(c *StoreConfig) { c.SecretFile = "" },
		"credentials":        func(c *StoreConfig) { c.Creds = "file" },
		"half a certificate": func(c *StoreConfig) { c.Cert = "file" },
		"half of TLS":        func(c *StoreConfig) { c.CA = "file" },
		"replicas":           func(c *StoreConfig) { c.Replicas = -1 },
		"replicas alone":     func(c *StoreConfig) { *c = StoreConfig{Replicas: 3} },
		"secret of nobody":   func(c *StoreConfig) { *c = StoreConfig{SecretFile: "secret"} },
	} {
		c := member
		change(&c)
		if err := c.Check(); !errors.As(err, new(*StoreConfigError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range []StoreConfig{{}, member, {URLs: []string{"nats://x"}, Creds: "file", CA: "file", Replicas: 3}} {
		if err := c.Check(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	dir := t.TempDir()
	short := filepath.Join(dir, "short")
	check(t, os.WriteFile(short, []byte("short\n"), 0o600))
	member.SecretFile = short
	if _, err := member.Open(t.Context(), dir, nil); !errors.As(err, new(*StoreConfigError)) {
		t.Errorf("a short secret: %v", err)
	}
	member.SecretFile = filepath.Join(dir, "none")
	if _, err := member.Open(t.Context(), dir, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no secret: %v", err)
	}
}

// freeAddresses are so many on loopback that nobody listens on now.
func freeAddresses(t *testing.T, count int) (out []string) {
	t.Helper()
	for range count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out
}

// Servers of a cluster and those who connect to them show each other certificates.
func TestEncryptedCluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	ca, err := certtest.NewAuthority(path("ca.pem"))
	check(t, err)
	other, err := certtest.NewAuthority(path("other.pem"))
	check(t, err)
	check(t, ca.Member(path("member.pem"), path("member.key")))
	check(t, other.Member(path("stranger.pem"), path("stranger.key")))
	check(t, os.WriteFile(path("secret"), []byte("a-secret-of-sixteen-characters\n"), 0o600))

	addresses := freeAddresses(t, 3)
	base := StoreConfig{CA: path("ca.pem"), Cert: path("member.pem"), Key: path("member.key"), SecretFile: path("secret")}
	nodes := make([]*store.Node, 3)
	var wg sync.WaitGroup
	for i := range nodes {
		wg.Go(func() {
			c := base
			c.Node, c.ClusterListen, c.Peers, c.Listen = fmt.Sprint("node", i), addresses[i], addresses, "127.0.0.1:0"
			n, err := c.Open(ctx, path(c.Node), nil)
			if err != nil {
				t.Errorf("node %d: %v", i, err)
				return
			}
			nodes[i] = n
		})
	}
	wg.Wait()
	defer func() {
		for _, n := range slices.DeleteFunc(nodes, func(n *store.Node) bool { return n == nil }) {
			check(t, n.Close(context.Background()))
		}
	}()
	if t.Failed() {
		return
	}
	url := []string{"nats://" + nodes[1].Address()}
	for name, c := range map[string]struct {
		config StoreConfig
		ok     bool
	}{
		"certificate":                 {StoreConfig{CA: base.CA, Cert: base.Cert, Key: base.Key, SecretFile: base.SecretFile}, true},
		"no certificate":              {StoreConfig{CA: base.CA, SecretFile: base.SecretFile}, false},
		"plain text":                  {StoreConfig{SecretFile: base.SecretFile}, false},
		"certificate of another":      {StoreConfig{CA: base.CA, Cert: path("stranger.pem"), Key: path("stranger.key"), SecretFile: base.SecretFile}, false},
		"another authority":           {StoreConfig{CA: path("other.pem"), Cert: base.Cert, Key: base.Key, SecretFile: base.SecretFile}, false},
		"a certificate and no secret": {StoreConfig{CA: base.CA, Cert: base.Cert, Key: base.Key}, false},
	} {
		c.config.URLs = url
		n, err := c.config.Open(ctx, dir, nil)
		if c.ok != (err == nil) || !c.ok && !errors.As(err, new(*store.UnreachableError)) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			check(t, n.Close(ctx))
		}
	}
}
