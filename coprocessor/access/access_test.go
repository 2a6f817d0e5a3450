package access

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "Alice-2_b", strings.Repeat("x", MaxName), "admin"} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "local", "everyone", "a.b", "a b", "a/b", "é", "a\n", "*", strings.Repeat("x", MaxName+1)} {
		if err := CheckName(name); !errors.As(err, new(*NameError)) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, c := range []struct{ principal, id, qualified string }{{"alice", "t-1", "alice.t-1"}, {"local", "t-1", "t-1"}} {
		if q := QualifiedJob(c.principal, c.id); q != c.qualified {
			t.Errorf("%v is %s", c, q)
		}
		if p, id := SplitJob(c.qualified); p != c.principal || id != c.id {
			t.Errorf("%v is split into %s, %s", c, p, id)
		}
	}
}

func TestRoles(t *testing.T) {
	for _, c := range []struct {
		p    Principal
		want [3]bool // user, keys, admin
	}{
		{Principal{}, [3]bool{}},
		{Principal{Roles: []Role{User}}, [3]bool{true, false, false}},
		{Principal{Roles: []Role{User, Keys}}, [3]bool{true, true, false}},
		{Principal{Roles: []Role{Admin}}, [3]bool{true, true, true}},
		{Local, [3]bool{true, true, true}},
	} {
		if got := [3]bool{c.p.Has(User), c.p.Has(Keys), c.p.Has(Admin)}; got != c.want {
			t.Errorf("%v: %v", c.p, got)
		}
	}
	if _, err := ParseRole("root"); err == nil {
		t.Error("a role root")
	}
}

func TestRights(t *testing.T) {
	for r := Rights(1); r <= All; r++ {
		if got, err := ParseRights(r.String()); err != nil || got != r {
			t.Errorf("%d is %q, which is %d, %v", r, r, got, err)
		}
	}
	for _, text := range []string{"", "write", "read,", "READ", "read, compute"} {
		if _, err := ParseRights(text); err == nil {
			t.Errorf("%q is a set of rights", text)
		}
	}
}

func TestCallers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "callers.json")
	discard := slog.New(slog.DiscardHandler)
	if _, err := OpenCallers(path, discard); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a file: %v", err)
	}
	if _, err := Withdraw(path, "00000000"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a file: %v", err)
	}
	token, alice, err := Issue(path, Credential{Principal: "alice", Roles: []Role{User}})
	if err != nil {
		t.Fatal(err)
	}
	old, _, err := Issue(path, Credential{Principal: "bob", Roles: []Role{User}, Expires: time.Now().Add(-time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	key := sha256.Sum256([]byte("key"))
	if _, err := Register(path, Credential{Principal: "contract", Kind: Key, Value: fmt.Sprintf("%x", key), Roles: []Role{User, Keys}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Register(path, Credential{Principal: "carol", Kind: Certificate, Value: "CN=carol,O=x", Roles: []Role{Admin}}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if secret := strings.TrimPrefix(token, tokenPrefix); bytes.Contains(data, []byte(secret)) {
		t.Error("the file has the token")
	}
	if info, err := os.Stat(path); runtime.GOOS != "windows" && (err != nil || info.Mode().Perm() != 0o600) {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}

	callers, err := OpenCallers(path, discard)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := callers.Token(token); err != nil || p.Name != "alice" || p.Credential != alice.ID || !p.Has(User) || p.Has(Keys) {
		t.Errorf("%v, %v", p, err)
	}
	if p, err := callers.Key(key); err != nil || p.Name != "contract" || !p.Has(Keys) {
		t.Errorf("%v, %v", p, err)
	}
	if p, err := callers.Certificate("CN=carol,O=x"); err != nil || p.Name != "carol" || !p.Has(Admin) {
		t.Errorf("%v, %v", p, err)
	}
	var e *CredentialError
	if p, err := callers.Token(old); !errors.As(err, &e) || !e.Expired || p.Name != "" {
		t.Errorf("an expired token: %v, %v", p, err)
	}
	flipped := token[:len(token)-2] + "A" + token[len(token)-1:]
	if flipped == token {
		flipped = token[:len(token)-2] + "B" + token[len(token)-1:]
	}
	for name, f := range map[string]func() (Principal, error){
		"no token":          func() (Principal, error) { return callers.Token("") },
		"another token":     func() (Principal, error) { return callers.Token(flipped) },
		"hash as token":     func() (Principal, error) { return callers.Token(alice.Value) },
		"another key":       func() (Principal, error) { return callers.Key([32]byte{}) },
		"another subject":   func() (Principal, error) { return callers.Certificate("CN=carol") },
		"token as a key":    func() (Principal, error) { return callers.Key(sha256.Sum256([]byte(token))) },
		"token, as subject": func() (Principal, error) { return callers.Certificate(alice.Value) },
	} {
		if p, err := f(); !errors.As(err, &e) || e.Expired || p.Name != "" {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}

	if _, err := Withdraw(path, "00000000"); !errors.As(err, new(*NoCredentialError)) {
		t.Errorf("an unknown id: %v", err)
	}
	if c, err := Withdraw(path, alice.ID); err != nil || c.Principal != "alice" {
		t.Fatalf("%v, %v", c, err)
	}
	if list, err := ReadCallers(path); err != nil || len(list) != 3 {
		t.Errorf("%v, %v", list, err)
	}
	time.Sleep(1100 * time.Millisecond)
	if _, err := callers.Token(token); !errors.As(err, &e) {
		t.Errorf("a token that was withdrawn: %v", err)
	}
	// A file that is wrong changes nothing.
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	if _, err := callers.Key(key); err != nil {
		t.Errorf("after a broken file: %v", err)
	}
}

func TestCallersRefused(t *testing.T) {
	good := Credential{ID: "00000001", Principal: "a", Kind: Token, Value: strings.Repeat("0", 64), Roles: []Role{User}}
	with := func(change func(*Credential)) []Credential {
		c := good
		change(&c)
		return []Credential{c}
	}
	file := func(version int, list ...Credential) string {
		data, err := json.Marshal(callersFile{Version: version, Credentials: list})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for _, c := range []struct{ name, text string }{
		{"empty", ""},
		{"no object", "[]"},
		{"cut", file(1, good)[:40]},
		{"trailing", file(1, good) + "{}"},
		{"version", file(2, good)},
		{"unknown field", strings.Replace(file(1, good), `"roles"`, `"expire":"2020-01-01T00:00:00Z","roles"`, 1)},
		{"principal", file(1, with(func(c *Credential) { c.Principal = "everyone" })...)},
		{"role", file(1, with(func(c *Credential) { c.Roles = []Role{"root"} })...)},
		{"kind", file(1, with(func(c *Credential) { c.Kind = "password" })...)},
		{"value", file(1, with(func(c *Credential) { c.Value = c.Value[2:] })...)},
		{"upper case", file(1, with(func(c *Credential) { c.Value = strings.Repeat("A", 64) })...)},
		{"subject", file(1, with(func(c *Credential) { c.Kind, c.Value = Certificate, "" })...)},
		{"id", file(1, with(func(c *Credential) { c.ID = "1" })...)},
		{"id twice", file(1, good, with(func(c *Credential) { c.Value = strings.Repeat("1", 64) })[0])},
		{"value twice", file(1, good, with(func(c *Credential) { c.ID = "00000002" })[0])},
		{"too large", strings.Repeat(" ", maxCallers+1)},
	} {
		path := filepath.Join(t.TempDir(), "callers.json")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := ReadCallers(path); !errors.As(err, new(*CallersError)) {
			t.Errorf("%s: %v, %v", c.name, list, err)
		}
		// It is not replaced by one with less in it.
		if _, _, err := Issue(path, Credential{Principal: "b"}); !errors.As(err, new(*CallersError)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != c.text {
			t.Errorf("%s: the file has changed, %v", c.name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "callers.json")
	if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Issue(path, Credential{Principal: "b"}); !errors.As(err, new(*CallersError)) {
		t.Errorf("two editors: %v", err)
	}
	if _, _, err := Issue(filepath.Join(t.TempDir(), "c"), Credential{Principal: "a.b"}); !errors.As(err, new(*NameError)) {
		t.Errorf("a bad name: %v", err)
	}
}

// FuzzDecodeCallers feeds the decoder of files of callers.
func FuzzDecodeCallers(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 128})
	f.Add([]byte(`{"version":1,"credentials":[{"id":"00000001","principal":"a","kind":"certificate","value":"CN=a","roles":["user"],"created":"2026-01-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"version":1,"quotas":{"*":{"weight":2,"period":"24h0m0s"},"a":{"bootstraps":100,"max_queued":3}}}`))
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := decodeCallers("c", data)
		if err != nil && !errors.As(err, new(*CallersError)) {
			t.Fatal(err)
		}
		for _, c := range file.Credentials {
			if CheckName(c.Principal) != nil {
				t.Fatalf("a principal %q", c.Principal)
			}
		}
	})
}

// FuzzNames feeds the readers of names, rights, roles and periods.
func FuzzNames(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	for _, text := range []string{"alice", "read,grant", "admin", "24h0m0s", "a.b", "all", "local"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if CheckName(text) == nil {
			if owner, id := SplitJob(QualifiedJob(text, "id")); owner != text || id != "id" {
				t.Errorf("the job of %q is that of %q", text, owner)
			}
		}
		if r, err := ParseRights(text); err == nil {
			if again, err := ParseRights(r.String()); err != nil || again != r || r == 0 || r > All {
				t.Errorf("%q is %v, and that %v: %v", text, r, again, err)
			}
		}
		ParseRole(text)
		var p Period
		p.UnmarshalText([]byte(text))
	})
}

func FuzzDecodeList(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 128})
	f.Add([]byte(`{"version":1,"owners":["a"],"grants":{"b":"read,grant"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := decodeList(data)
		if err != nil {
			return
		}
		for name, r := range l.Grants {
			if r == 0 || r > All {
				t.Errorf("%q has the rights %d", name, r)
			}
		}
	})
}

func lists(t *testing.T) (*Lists, jetstream.JetStream) {
	t.Helper()
	js := storetest.Start(t, t.TempDir()).JetStream()
	l, err := OpenLists(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	return l, js
}

func user(name string) Principal { return Principal{Name: name, Roles: []Role{User}} }

// TestLists compares the lists with a table of rights through random changes by
// random principals.
func TestLists(t *testing.T) {
	s, js := lists(t)
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		ctx := context.Background()
		names := []string{"alice", "bob", "carol"}
		objects := []Object{Ciphertext(sha256.Sum256(fmt.Append(nil, run))), EvaluationKey(sha256.Sum256(fmt.Append(nil, run)))}
		type subject struct {
			o    Object
			name string
		}
		owner, granted := make(map[subject]bool), make(map[subject]Rights)
		rightsOf := func(o Object, name string) Rights {
			if owner[subject{o, name}] {
				return All
			}
			return granted[subject{o, name}] | granted[subject{o, Everyone}]
		}
		object := rapid.SampledFrom(objects)
		anyRights := rapid.Custom(func(t *rapid.T) Rights { return Rights(rapid.IntRange(1, int(All)).Draw(t, "rights")) })
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			o := object.Draw(t, "object")
			name := rapid.SampledFrom(names).Draw(t, "by")
			to := rapid.SampledFrom(append([]string{Everyone}, names...)).Draw(t, "to")
			r := anyRights.Draw(t, "r")
			allowed := rightsOf(o, name)&(Grant|r) == Grant|r
			var err error
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				if err = s.Own(ctx, name, o); err == nil {
					owner[subject{o, name}] = true
					delete(granted, subject{o, name})
				}
				allowed = true
			case 1, 2:
				_, err = s.Grant(ctx, user(name), o, to, r)
				if allowed && !owner[subject{o, to}] {
					granted[subject{o, to}] |= r
				}
			case 3:
				_, err = s.Revoke(ctx, user(name), o, to, r)
				if allowed {
					granted[subject{o, to}] &^= r
				}
			}
			if denied := errors.As(err, new(*DeniedError)); denied == allowed || !denied && err != nil {
				t.Fatalf("%s may: %v, got %v", name, allowed, err)
			}
		}
		again := s
		if run%20 == 1 {
			// What is stored is what a later process reads.
			var err error
			if again, err = OpenLists(ctx, js); err != nil {
				t.Fatal(err)
			}
		}
		for _, o := range objects {
			for _, name := range names {
				if owns, err := again.Owns(ctx, name, o); err != nil || owns != owner[subject{o, name}] {
					t.Fatalf("%s owns %s: %v, %v", name, o, owns, err)
				}
				got, err := again.Rights(ctx, user(name), o)
				if want := rightsOf(o, name); err != nil || got != want {
					t.Fatalf("%s has %s on %s, want %s, %v", name, got, o, want, err)
				}
				for r := Rights(1); r <= All; r++ {
					err := again.Check(ctx, user(name), o, r)
					if denied := errors.As(err, new(*DeniedError)); denied == (got&r == r) {
						t.Fatalf("%s needs %s, has %s: %v", name, r, got, err)
					}
				}
			}
			if r, err := again.Rights(ctx, Principal{}, o); r != 0 || err != nil {
				t.Fatalf("nobody has %s, %v", r, err)
			}
			if r, err := again.Rights(ctx, Local, o); r != All || err != nil {
				t.Fatalf("the administrator has %s, %v", r, err)
			}
		}
	})
}

func TestList(t *testing.T) {
	s, _ := lists(t)
	ctx := t.Context()
	o := Ciphertext([32]byte{1})
	if err := s.Own(ctx, "local", o); err != nil {
		t.Fatal(err)
	}
	if l, err := s.List(ctx, Local, o); err != nil || len(l.Owners) != 0 {
		t.Errorf("the administrator's: %v, %v", l, err)
	}
	for _, name := range []string{"bob", "alice", "bob"} {
		if err := s.Own(ctx, name, o); err != nil {
			t.Fatal(err)
		}
	}
	for _, to := range []string{"zoe", "carol", Everyone} {
		if _, err := s.Grant(ctx, user("alice"), o, to, Read); err != nil {
			t.Fatal(err)
		}
	}
	l, err := s.List(ctx, user("alice"), o)
	want := List{Owners: []string{"bob", "alice"}, Grants: map[string]Rights{"zoe": Read, "carol": Read, Everyone: Read}}
	if diff := cmp.Diff(want, l); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if names := l.Names(); !slices.Equal(names, []string{"carol", Everyone, "zoe"}) {
		t.Error(names)
	}
	if _, err := s.List(ctx, user("zoe"), o); !errors.As(err, new(*DeniedError)) {
		t.Errorf("without the right: %v", err)
	}
	if _, err := s.Grant(ctx, user("alice"), o, "a.b", Read); !errors.As(err, new(*NameError)) {
		t.Errorf("a bad name: %v", err)
	}
}

func TestFull(t *testing.T) {
	s, _ := lists(t)
	ctx := t.Context()
	o := Ciphertext([32]byte{2})
	l := record{Version: recordVersion, Owners: []string{"a"}, Grants: map[string]string{}}
	for i := range maxEntries - 1 {
		l.Grants[fmt.Sprint("g", i)] = "read"
	}
	data, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.bucket.KV.Create(ctx, o.String(), data); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Grant(ctx, user("a"), o, "one-more", Read); !errors.As(err, new(*FullError)) {
		t.Errorf("one more: %v", err)
	}
	if err := s.Own(ctx, "one-more", o); !errors.As(err, new(*FullError)) {
		t.Errorf("one more owner: %v", err)
	}
	if _, err := s.Grant(ctx, user("a"), o, "g7", Compute); err != nil {
		t.Error(err)
	}
	if _, err := s.Revoke(ctx, user("a"), o, "g7", All); err != nil {
		t.Error(err)
	}
	if _, err := s.Grant(ctx, user("a"), o, "one-more", Read); err != nil {
		t.Error(err)
	}
}

// TestTogether has many owners appear at a time.
func TestTogether(t *testing.T) {
	s, _ := lists(t)
	o := EvaluationKey([32]byte{3})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if err := s.Own(t.Context(), fmt.Sprint("p", i), o); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if l, err := s.List(t.Context(), Local, o); err != nil || len(l.Owners) != 16 {
		t.Errorf("%v, %v", l, err)
	}
}

// TestDamage: what cannot be read gives no rights, and is no missing list.
func TestDamage(t *testing.T) {
	s, _ := lists(t)
	for i, data := range []string{"", "{", `{"version":2}`, `{"version":1,"grants":{"a":"everything"}}`} {
		o := Ciphertext([32]byte{4, byte(i)})
		if _, err := s.bucket.KV.Create(t.Context(), o.String(), []byte(data)); err != nil {
			t.Fatal(err)
		}
		loss := func(err error) bool { return errors.As(err, new(*store.DataLossError)) }
		if r, err := s.Rights(t.Context(), user("a"), o); r != 0 || !loss(err) {
			t.Errorf("%q: %s, %v", data, r, err)
		}
		if err := s.Own(t.Context(), "a", o); !loss(err) {
			t.Errorf("%q: %v", data, err)
		}
	}
}

func TestReplay(t *testing.T) {
	start := time.UnixMilli(1_700_000_000_000)
	r := NewReplay(start)
	r.limit = 4
	a, b := [32]byte{1}, [32]byte{2}
	w := SignatureWindow
	for i, c := range []struct {
		key         [32]byte
		nonce       byte
		signed, now time.Duration
		want        ReplayReason
	}{
		{a, 1, 0, 0, ""},
		{a, 1, 0, 0, Repeated},
		{a, 1, 5, 5, Repeated}, // the nonce counts alone
		{b, 1, 0, 0, ""},
		{a, 2, -1, 0, Stale}, // before the start
		{a, 2, w + 1, 0, Stale},
		{a, 2, w, 0, ""},
		{a, 2, w, 2 * w, Repeated}, // as old as it can be
		{a, 3, w - 1, 2 * w, Stale},
		{a, 3, 2 * w, 2 * w, ""},
		{a, 4, 2 * w, 2 * w, ""},
		{a, 5, 2 * w, 2 * w, TooMany},
		{b, 5, 2 * w, 2 * w, ""},
		{a, 5, 4 * w, 4 * w, ""}, // the first ones are forgotten
		{a, 3, 3 * w, 4 * w, Repeated},
		{a, 5, 9 * w, 9 * w, ""},
	} {
		err := r.Check(c.key, [16]byte{c.nonce}, start.Add(c.signed), start.Add(c.now))
		var e *ReplayError
		got := ReplayReason("")
		if errors.As(err, &e) {
			got = e.Reason
		}
		if got != c.want {
			t.Errorf("call %d: %q, want %q", i, got, c.want)
		}
	}
}
