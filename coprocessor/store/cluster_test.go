package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

const secret = "a secret of tests"

// members are the options of the servers of a cluster on this machine.
func members(t *testing.T, count int) []store.EmbeddedOptions {
	t.Helper()
	addresses := make([]string, count)
	for i := range addresses {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addresses[i] = l.Addr().String()
	}
	options := make([]store.EmbeddedOptions, count)
	for i := range options {
		options[i] = store.EmbeddedOptions{Dir: t.TempDir(), Secret: secret, Member: &store.Member{Name: fmt.Sprint("node", i), Listen: addresses[i], Peers: addresses}}
	}
	return options
}

// start starts servers at the same time, which they must be to find each other.
func start(t *testing.T, options ...store.EmbeddedOptions) []*store.Node {
	t.Helper()
	nodes := make([]*store.Node, len(options))
	var wg sync.WaitGroup
	for i := range options {
		wg.Go(func() {
			n, err := store.Embedded(t.Context(), options[i])
			if err != nil {
				t.Errorf("server %d: %v", i, err)
				return
			}
			nodes[i] = n
			t.Cleanup(func() { storetest.Stop(t, n) })
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return nodes
}

// What one server of a cluster acknowledged is there at once on the others, and
// when one of them is gone.
func TestCluster(t *testing.T) {
	ctx := t.Context()
	options := members(t, 3)
	nodes := start(t, options...)
	stores := make([]*store.Ciphertexts, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { stores[i] = openCiphertexts(t, n) })
	}
	wg.Wait()
	for i := range byte(30) {
		ct := store.Ciphertext{Handle: [32]byte{i}, Record: pattern(i, 5000)}
		if err := stores[i%3].Put(ctx, ct); err != nil {
			t.Fatal(err)
		}
		for j, s := range stores {
			if got, err := s.Get(ctx, ct.Handle); err != nil || !bytes.Equal(got, ct.Record) {
				t.Fatalf("record %d from server %d: %v", i, j, err)
			}
		}
	}
	// An outsider without the secret gets in nowhere.
	if n, err := store.Connect(ctx, store.ConnectOptions{URLs: []string{"nats://" + nodes[1].Address()}, Secret: "guessed"}); !errors.As(err, new(*store.UnreachableError)) {
		t.Errorf("a wrong secret: %v, %v", n, err)
	}
	// One with it may ask for fewer replicas; there are as many as before.
	remote, err := store.Connect(ctx, store.ConnectOptions{URLs: []string{"nats://" + nodes[1].Address()}, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer storetest.Stop(t, remote)
	openCiphertexts(t, remote)
	info, err := remote.JetStream().Stream(ctx, "KV_ciphertexts")
	if err != nil {
		t.Fatal(err)
	}
	if c := info.CachedInfo().Config; c.Replicas != 3 || c.AllowDirect {
		t.Fatalf("%d replicas, answers by each %v", c.Replicas, c.AllowDirect)
	}

	storetest.Stop(t, nodes[0])
	for i := range byte(30) {
		ct := store.Ciphertext{Handle: [32]byte{i, 1}, Record: pattern(i, 5000)}
		s := stores[1+i%2]
		err := s.Put(ctx, ct)
		for ; err != nil; err = s.Put(ctx, ct) { // until there is another leader
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
		if got, err := stores[2-i%2].Get(ctx, [32]byte{i}); err != nil || !bytes.Equal(got, pattern(i, 5000)) {
			t.Fatalf("record %d without a server: %v", i, err)
		}
	}
}

func TestDirectoryOfAMember(t *testing.T) {
	ctx := t.Context()
	// Alone with data: refused as a member, and still there.
	dir := t.TempDir()
	n := storetest.Start(t, dir)
	if err := openCiphertexts(t, n).Put(ctx, store.Ciphertext{Record: []byte("kept")}); err != nil {
		t.Fatal(err)
	}
	storetest.Stop(t, n)
	o := members(t, 1)[0]
	fresh := o.Dir
	o.Dir = dir
	alone := (*store.StandaloneError)(nil)
	if _, err := store.Embedded(ctx, o); !errors.As(err, &alone) || alone.Dir != dir {
		t.Fatalf("data of a server that stands alone: %v", err)
	}
	if got, err := openCiphertexts(t, storetest.Start(t, dir)).Get(ctx, [32]byte{}); err != nil || string(got) != "kept" {
		t.Fatal(err)
	}

	// A member's: refused to others, and to a server that stands alone.
	o.Dir = fresh
	if err := os.MkdirAll(filepath.Join(fresh, "jetstream"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(fresh, "member.json"), []byte(`{"version":1,"node":"node0","cluster":"tacit"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	other := *o.Member
	other.Name = "node9"
	elsewhere := *o.Member
	elsewhere.Cluster = "another"
	for name, m := range map[string]*store.Member{"name": &other, "cluster": &elsewhere, "alone": nil} {
		refused := (*store.MemberError)(nil)
		if _, err := store.Embedded(ctx, store.EmbeddedOptions{Dir: fresh, Secret: secret, Member: m}); !errors.As(err, &refused) || refused.Have != "node0@tacit" {
			t.Errorf("another %s: %v", name, err)
		}
	}
}

func TestClusterRefuses(t *testing.T) {
	for name, o := range map[string]store.EmbeddedOptions{
		"no secret":      {Member: &store.Member{Name: "a", Listen: "127.0.0.1:0"}},
		"no name":        {Secret: secret, Member: &store.Member{Listen: "127.0.0.1:0"}},
		"no address":     {Secret: secret, Member: &store.Member{Name: "a"}},
		"no port":        {Secret: secret, Member: &store.Member{Name: "a", Listen: "127.0.0.1"}},
		"bad peer":       {Secret: secret, Member: &store.Member{Name: "a", Listen: "127.0.0.1:0", Peers: []string{"127.0.0.1"}}},
		"clients' port":  {Secret: secret, Listen: "127.0.0.1:x"},
		"clients secret": {Listen: "127.0.0.1:0"},
		"replicas":       {Replicas: -1},
	} {
		o.Dir = t.TempDir()
		if n, err := store.Embedded(t.Context(), o); err == nil {
			storetest.Stop(t, n)
			t.Errorf("%s: no error", name)
		}
	}
	for name, o := range map[string]store.EmbeddedOptions{
		"cluster": {Secret: secret, Member: &store.Member{Name: "a", Listen: "0.0.0.0:0"}},
		"peer":    {Secret: secret, Member: &store.Member{Name: "a", Listen: "127.0.0.1:0", Peers: []string{"192.0.2.1:1"}}},
		"clients": {Secret: secret, Listen: ":0"},
	} {
		o.Dir = t.TempDir()
		if _, err := store.Embedded(t.Context(), o); !errors.As(err, new(*store.PlaintextError)) {
			t.Errorf("plain text to other machines, %s: %v", name, err)
		}
	}
}

// A server that listens is the same store to other processes.
func TestConnect(t *testing.T) {
	ctx := t.Context()
	options := store.EmbeddedOptions{Dir: t.TempDir(), Secret: secret, Listen: "127.0.0.1:0"}
	n, err := store.Embedded(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	url := "nats://" + n.Address()
	remote, err := store.Connect(ctx, store.ConnectOptions{URLs: []string{url}, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer storetest.Stop(t, remote)
	if err := openCiphertexts(t, n).Put(ctx, store.Ciphertext{Record: []byte("record")}); err != nil {
		t.Fatal(err)
	}
	s := openCiphertexts(t, remote)
	if got, err := s.Get(ctx, [32]byte{}); err != nil || string(got) != "record" {
		t.Fatalf("%q, %v", got, err)
	}
	for _, o := range []store.ConnectOptions{{URLs: []string{url}}, {URLs: []string{"nats://127.0.0.1:1"}}, {URLs: []string{url}, Creds: "none"}} {
		away := (*store.UnreachableError)(nil)
		if _, err := store.Connect(ctx, o); !errors.As(err, &away) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := store.Connect(ctx, store.ConnectOptions{}); err == nil {
		t.Error("no servers")
	}

	// Away and back.
	storetest.Stop(t, n)
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := s.Get(short, [32]byte{}); err == nil || errors.As(err, new(*store.NotFoundError)) {
		t.Errorf("without the server: %v", err)
	}
	options.Listen = url[len("nats://"):]
	if n, err = store.Embedded(ctx, options); err != nil {
		t.Fatal(err)
	}
	defer storetest.Stop(t, n)
	for {
		got, err := s.Get(ctx, [32]byte{})
		if err == nil && string(got) == "record" {
			break
		}
		if errors.As(err, new(*store.NotFoundError)) || errors.As(err, new(*store.DataLossError)) || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}
