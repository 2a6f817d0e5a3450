package upkeep_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/bench/fuzztest"
	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
	"github.com/tacit-fhe/tacit/coprocessor/upkeep"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// things is a store with something of everything.
type things struct {
	key    []byte
	record []byte // of the ciphertext {1}
	keyID  [32]byte
}

var record, recordKey = func() ([]byte, [32]byte) {
	p, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		panic(err)
	}
	b, err := cpu.New()
	if err != nil {
		panic(err)
	}
	defer b.Close()
	keys, err := fhe.GenerateKeys(context.Background(), p, fhe.NewSeed(), b, nil)
	if err != nil {
		panic(err)
	}
	list, err := integer.Encrypt(p, keys.Secret.ID(), keys.Secret, fhe.NewSeed(), integer.Plain(integer.Uint8, 7))
	if err != nil {
		panic(err)
	}
	data, err := list.MarshalBinary()
	if err != nil {
		panic(err)
	}
	return data, keys.Secret.ID()
}()

func fill(t testing.TB, js jetstream.JetStream) *things {
	t.Helper()
	ctx := t.Context()
	s := &things{key: make([]byte, 5<<20), record: record, keyID: recordKey}
	rand.NewChaCha8([32]byte{7}).Read(s.key)
	cts, err := store.OpenCiphertexts(ctx, js)
	must(t, err)
	must(t, cts.Put(ctx, store.Ciphertext{Handle: [32]byte{1}, Type: uint8(integer.Uint8), KeyID: s.keyID, Record: s.record}))
	must(t, cts.Put(ctx, store.Ciphertext{Handle: [32]byte{2}, Record: []byte("another ciphertext")}))
	keys, err := store.OpenKeys(ctx, js, t.TempDir())
	must(t, err)
	must(t, keys.Put(ctx, sha256.Sum256(s.key), bytes.NewReader(s.key), 6<<20))
	q, err := jobs.Open(ctx, js, jobs.Options{})
	must(t, err)
	defer q.Close()
	for i := range 5 {
		_, _, err := q.Submit(ctx, jobs.Submission{ID: fmt.Sprint("job", i), Spec: fmt.Appendf(nil, "spec of %d", i)})
		must(t, err)
	}
	for i := range 2 {
		l, err := q.Claim(ctx)
		must(t, err)
		if i == 0 {
			must(t, l.Fail(ctx, []byte("error"), false))
		} else {
			must(t, l.Done(ctx, []byte("result")))
		}
	}
	lists, err := store.OpenBucket(ctx, js, "access", 1)
	must(t, err)
	must(t, lists.Write(ctx, "ciphertext/ab", []byte("a list")))
	return s
}

// same checks that a store is what fill makes.
func same(t testing.TB, js jetstream.JetStream, s *things) {
	t.Helper()
	ctx := t.Context()
	v, err := upkeep.Verify(ctx, js, false, nil)
	must(t, err)
	if len(v.Damage) > 0 || v.Records < 15 {
		t.Errorf("%+v", v)
	}
	cts, err := store.OpenCiphertexts(ctx, js)
	must(t, err)
	if got, err := cts.Get(ctx, [32]byte{1}); err != nil || !bytes.Equal(got, s.record) {
		t.Errorf("ciphertext: %v", err)
	}
	keys, err := store.OpenKeys(ctx, js, t.TempDir())
	must(t, err)
	r, _, err := keys.Open(ctx, sha256.Sum256(s.key))
	must(t, err)
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, s.key) {
		t.Errorf("key: %v", err)
	}
	q, err := jobs.Open(ctx, js, jobs.Options{})
	must(t, err)
	defer q.Close()
	list, _, err := q.List(ctx, jobs.ListOptions{})
	must(t, err)
	var got []string
	for _, j := range list {
		got = append(got, fmt.Sprint(j.ID, " ", j.State))
	}
	if want := []string{"job0 failed", "job1 done", "job2 queued", "job3 queued", "job4 queued"}; !slices.Equal(got, want) {
		t.Errorf("jobs %q, want %q", got, want)
	}
	// What comes now comes after them, and they start in their order.
	_, _, err = q.Submit(ctx, jobs.Submission{ID: "late", Spec: []byte("late")})
	must(t, err)
	for _, want := range []string{"job2", "job3", "job4", "late"} {
		l, err := q.Claim(ctx)
		must(t, err)
		if l.Job().ID != want {
			t.Errorf("claimed %s, want %s", l.Job().ID, want)
		}
		must(t, l.Done(ctx, nil))
	}
	if list, _, err = q.List(ctx, jobs.ListOptions{Newest: true, Limit: 1}); err != nil || list[0].ID != "late" {
		t.Errorf("the newest is %v, %v", list, err)
	}
}

func TestCopy(t *testing.T) {
	ctx := t.Context()
	from, to := storetest.Start(t, t.TempDir()).JetStream(), storetest.Start(t, t.TempDir()).JetStream()
	s := fill(t, from)
	calls := 0
	c, err := upkeep.Copy(ctx, from, to, func(store.Checked) { calls++ })
	must(t, err)
	if len(c.Damage) > 0 || c.Records != calls || c.Bytes < 5<<20 {
		t.Errorf("%+v, %d calls", c, calls)
	}
	if _, err := upkeep.Copy(ctx, from, to, nil); !errors.As(err, new(*upkeep.NotEmptyError)) {
		t.Errorf("into a store with something in it: %v", err)
	}
	same(t, to, s)
}

func TestBackup(t *testing.T) {
	ctx := t.Context()
	from := storetest.Start(t, t.TempDir()).JetStream()
	s := fill(t, from)
	var file bytes.Buffer
	c, err := upkeep.Backup(ctx, from, &file, nil)
	must(t, err)
	to := storetest.Start(t, t.TempDir()).JetStream()
	got, err := upkeep.Restore(ctx, bytes.NewReader(file.Bytes()), to, nil)
	must(t, err)
	if got != c.Checked {
		t.Errorf("restored %+v of %+v", got, c.Checked)
	}
	same(t, to, s)

	// Cut off anywhere, or with a bit changed, it is no backup. The archive is padded
	// with zeros that nobody reads.
	data := file.Bytes()
	short := storetest.Start(t, t.TempDir()).JetStream()
	read := func(data []byte) error {
		_, err := upkeep.Restore(ctx, bytes.NewReader(data), short, nil)
		if notEmpty := (*upkeep.NotEmptyError)(nil); errors.As(err, &notEmpty) {
			t.Fatal(err)
		}
		return err
	}
	for _, size := range []int{0, 100, 512, 1024, 1536} {
		if err := read(data[:size]); err == nil {
			t.Errorf("the first %d bytes are a backup", size)
		}
	}
	for _, bad := range []struct {
		name string
		size int64
	}{{"jobs/../x", 1}, {"elsewhere/a", 1}, {"jobs", 1}, {"ciphertexts/a", store.MaxRecord + 1}, {"jobs/a", 1}} {
		if err := read(archive(t, bad.name, bad.size)); err == nil {
			t.Errorf("%s is restored", bad.name)
		}
	}
}

// archive is a backup of one value that is not right.
func archive(t *testing.T, name string, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	head := `{"version":1}`
	must(t, w.WriteHeader(&tar.Header{Name: "tacit-backup", Size: int64(len(head)), Typeflag: tar.TypeReg}))
	_, err := io.WriteString(w, head)
	must(t, err)
	must(t, w.WriteHeader(&tar.Header{Name: name, Size: size, Typeflag: tar.TypeReg}))
	_, err = w.Write(make([]byte, size))
	must(t, err)
	must(t, w.Close())
	return b.Bytes()
}

// block is what everything in a tar archive begins at a multiple of, in bytes.
const block = 512

// reseal makes the digests of a backup right, and the checksums of its headers, as far as there are any.
func reseal(backup []byte) {
	all := sha256.New()
	var digestAt []byte // of the value that comes next
	for at := 0; at+block <= len(backup); {
		head := backup[at : at+block]
		name, _, _ := bytes.Cut(head[:100], []byte{0})
		size, err := strconv.ParseInt(strings.Trim(string(head[124:136]), " \x00"), 8, 32)
		from := at + block
		if err == nil && size >= 0 && from+int(size) <= len(backup) {
			body := backup[from : from+int(size)]
			if head[156] == tar.TypeXHeader {
				if _, after, ok := bytes.Cut(body, []byte("TACIT.sha256=")); ok {
					digestAt = after
				}
			} else if _, after, ok := bytes.Cut(body, []byte(`"digest":"`)); ok && string(name) == "tacit-end" {
				copy(after, hex.AppendEncode(nil, all.Sum(nil)))
			} else {
				digest, of := sha256.Sum256(body), sha256.Sum256(name)
				copy(digestAt, hex.AppendEncode(nil, digest[:]))
				if digestAt != nil {
					all.Write(of[:])
					all.Write(digest[:])
				}
				digestAt = nil
			}
			from += (int(size) + block - 1) / block * block
		}
		if !bytes.Equal(head, make([]byte, block)) {
			copy(head[148:], "        ")
			sum := 0
			for _, b := range head {
				sum += int(b)
			}
			copy(head[148:], fmt.Sprintf("%06o\x00 ", sum))
		}
		at = from
	}
}

// backup is a small backup that is the same in every run.
func backup(t testing.TB) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name, content string, records map[string]string) {
		must(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Typeflag: tar.TypeReg, Mode: 0o600, Format: tar.FormatPAX, PAXRecords: records}))
		_, err := io.WriteString(w, content)
		must(t, err)
	}
	digest := map[string]string{"TACIT.sha256": strings.Repeat("0", 64)}
	add("tacit-backup", `{"version":1,"created":"2026-01-02T03:04:05Z","first":{"jobs":7,"ciphertext-meta":1}}`, nil)
	add("jobs/local.a", `{"version":1,"state":"queued"}`, digest)
	add("ciphertext-meta/"+strings.Repeat("01", 32), strings.Repeat("\x01", 74), digest)
	add("access/none", "", digest)
	add("tacit-end", `{"records":3,"digest":"`+strings.Repeat("0", 64)+`"}`, nil)
	must(t, w.Close())
	reseal(b.Bytes())
	return b.Bytes()
}

// FuzzRestore feeds whatever to what Restore reads a backup with, as it is or with digests that are right: it ends
// with the errors that it says.
func FuzzRestore(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 256 << 10, PerByte: 64})
	whole := backup(f)
	must(f, upkeep.CheckBackup(f.Context(), bytes.NewReader(whole)))
	f.Add(whole, false)
	f.Add(whole, true)
	f.Add(whole[:700], true)
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		if seal {
			data = bytes.Clone(data)
			reseal(data)
		}
		err := upkeep.CheckBackup(t.Context(), bytes.NewReader(data))
		if err != nil && !errors.Is(err, upkeep.ErrTruncated) && !errors.As(err, new(*upkeep.BackupError)) {
			t.Errorf("untyped: %v", err)
		}
	})
}

func TestDamage(t *testing.T) {
	ctx := t.Context()
	for _, c := range []struct {
		name   string
		damage func(s *things) []byte
		bucket string // what is named
		whole  bool   // that a copy is as before
	}{
		{"ciphertext", func(s *things) []byte { return s.record[len(s.record)-40:] }, "ciphertexts", false},
		{"description", func(s *things) []byte { d := sha256.Sum256(s.record); return append(s.keyID[:], d[:]...) }, "ciphertext-meta", true},
		{"key", func(s *things) []byte { return s.key[4<<20+5 : 4<<20+500] }, "key-chunks", false},
		{"list", func(*things) []byte { return []byte("a list") }, "access", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			n := storetest.Start(t, dir)
			s := fill(t, n.JetStream())
			storetest.Stop(t, n)
			storetest.FlipAll(t, dir, c.damage(s))
			js := storetest.Start(t, dir).JetStream()
			v, err := upkeep.Verify(ctx, js, false, nil)
			must(t, err)
			if len(v.Damage) == 0 || !slices.ContainsFunc(v.Damage, func(d upkeep.Damage) bool { return d.Bucket == c.bucket }) {
				t.Fatalf("found %+v", v.Damage)
			}
			to := storetest.Start(t, t.TempDir()).JetStream()
			copied, err := upkeep.Copy(ctx, js, to, nil)
			must(t, err)
			if len(copied.Damage) == 0 || copied.Damage[0].Repaired != c.whole {
				t.Errorf("copied: %+v", copied.Damage)
			}
			if c.whole {
				same(t, to, s)
				v, err = upkeep.Verify(ctx, js, true, nil)
				must(t, err)
				if !v.Damage[0].Repaired {
					t.Errorf("not repaired: %+v", v.Damage)
				}
				same(t, js, s)
			}
		})
	}
}

// Inputs and outputs of jobs that have not ended stay, and one process at a time has
// its turn.
func TestCollect(t *testing.T) {
	ctx := t.Context()
	js := storetest.Start(t, t.TempDir()).JetStream()
	q, err := jobs.Open(ctx, js, jobs.Options{})
	must(t, err)
	defer q.Close()
	cts, err := store.OpenCiphertexts(ctx, js)
	must(t, err)
	lists, err := access.OpenLists(ctx, js)
	must(t, err)
	gone, kept := access.Ciphertext([32]byte{1}), access.Ciphertext([32]byte{2})
	must(t, cts.Put(ctx, store.Ciphertext{Handle: kept.ID, Record: []byte("kept")}))
	must(t, lists.Own(ctx, "alice", gone)) // as a process leaves it that is killed while it collects
	must(t, lists.Own(ctx, "alice", kept))
	spec, err := proto.Marshal(&tacitv1.JobSpec{Nodes: []*tacitv1.Node{{Result: bytes.Repeat([]byte{9}, 32)}}})
	must(t, err)
	for _, id := range []string{"done", "queued"} {
		_, _, err := q.Submit(ctx, jobs.Submission{ID: id, Spec: spec})
		must(t, err)
	}
	l, err := q.Claim(ctx)
	must(t, err)
	must(t, l.Done(ctx, nil))
	policy := upkeep.Policy{Jobs: jobs.Retention{Age: time.Nanosecond}, Unused: time.Nanosecond, Dry: true}
	for _, dry := range []bool{true, false} {
		policy.Dry = dry
		got, err := upkeep.Collect(ctx, q, cts, lists, policy, nil)
		if err != nil || got.Jobs != 1 || got.Lists != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if list, _, err := q.List(ctx, jobs.ListOptions{}); err != nil || len(list) != 1 || list[0].ID != "queued" {
		t.Errorf("%v, %v", list, err)
	}

	for o, want := range map[access.Object]bool{gone: false, kept: true} {
		if owns, err := lists.Owns(ctx, "alice", o); owns != want || err != nil {
			t.Errorf("alice owns %v: %v, %v", o, owns, err)
		}
	}

	a, err := upkeep.OpenTurn(ctx, js)
	must(t, err)
	b, err := upkeep.OpenTurn(ctx, js)
	must(t, err)
	for i, c := range []struct {
		turn     *upkeep.Turn
		interval time.Duration
		want     bool
	}{{a, time.Hour, true}, {b, time.Hour, false}, {a, time.Hour, false}, {b, 0, true}} {
		if got, err := c.turn.Take(ctx, "collect", c.interval); err != nil || got != c.want {
			t.Errorf("%d: %v, %v", i, got, err)
		}
	}
}
