package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// What is remembered is what was written or read last, and nothing where that is not
// certain.
func TestMemory(t *testing.T) {
	at := place{"bucket", "key"}
	write := func(m *memory, text string, revision uint64, err error) {
		m.write(at.bucket, []Write{{Key: at.key, Value: []byte(text)}}, func() (uint64, error) { return revision, err })
	}
	read := func(m *memory, text string, revision uint64) {
		m.read(at, func() (*value, error) { return &value{place: at, data: []byte(text), revision: revision}, nil })
	}
	none := func(m *memory) { m.read(at, func() (*value, error) { return nil, nil }) }
	conflict := fmt.Errorf("update: %w", jetstream.ErrKeyExists)
	for _, c := range []struct {
		name   string
		shared bool
		do     func(*memory)
		want   string // empty for nothing, "-" for that there is none
	}{
		{"nothing", false, func(*memory) {}, ""},
		{"written", false, func(m *memory) { write(m, "a", 1, nil) }, "a"},
		{"written where others write too", true, func(m *memory) { write(m, "a", 1, nil) }, ""},
		{"written again", false, func(m *memory) { write(m, "a", 1, nil); write(m, "b", 2, nil) }, "b"},
		{"read", false, func(m *memory) { read(m, "a", 1) }, "a"},
		{"not there", false, func(m *memory) { none(m) }, "-"},
		{"not there where others write too", true, func(m *memory) { none(m) }, ""},
		{"not there and then written", false, func(m *memory) { none(m); write(m, "a", 1, nil) }, "a"},
		{"refused", false, func(m *memory) { read(m, "a", 1); write(m, "b", 0, conflict) }, ""},
		{"refused and read", false, func(m *memory) { write(m, "b", 0, conflict); read(m, "c", 3) }, "c"},
		{"not answered, and made later", false, func(m *memory) { write(m, "b", 0, context.DeadlineExceeded); read(m, "a", 1) }, ""},
		{"not answered, and written again", false, func(m *memory) { write(m, "b", 0, context.DeadlineExceeded); write(m, "c", 3, nil) }, ""},
		{"removed", false, func(m *memory) {
			write(m, "a", 1, nil)
			m.write(at.bucket, []Write{{Key: at.key}}, func() (uint64, error) { return 0, nil })
		}, ""},
		{"read before and after a write", false, func(m *memory) {
			m.read(at, func() (*value, error) {
				write(m, "b", 2, nil)
				return &value{place: at, data: []byte("a"), revision: 1}, nil
			})
		}, ""},
		{"read within a write", false, func(m *memory) {
			m.write(at.bucket, []Write{{Key: at.key, Value: []byte("b")}}, func() (uint64, error) { read(m, "a", 1); return 2, nil })
		}, ""},
		{"written within a write", false, func(m *memory) {
			m.write(at.bucket, []Write{{Key: at.key, Value: []byte("b")}}, func() (uint64, error) { write(m, "a", 1, nil); return 2, nil })
		}, ""},
		{"read after such a write", false, func(m *memory) {
			m.write(at.bucket, []Write{{Key: at.key, Value: []byte("b")}}, func() (uint64, error) { read(m, "a", 1); return 2, nil })
			read(m, "b", 2)
		}, "b"},
		{"erased", false, func(m *memory) { write(m, "a", 1, nil); m.forget(at.bucket, newFilter(at.key)) }, ""},
		{"another bucket erased", false, func(m *memory) { write(m, "a", 1, nil); m.forget("another", newFilter(at.key)) }, "a"},
		{"read before and after it was erased", false, func(m *memory) {
			m.read(at, func() (*value, error) {
				m.forget(at.bucket, newFilter(at.key))
				return &value{place: at, data: []byte("a"), revision: 1}, nil
			})
		}, ""},
		{"too large", false, func(m *memory) { write(m, string(make([]byte, maxRememberedValue+1)), 1, nil) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory(!c.shared)
			c.do(m)
			got := ""
			if v, ok := m.recall(at); ok {
				if got = "-"; v != nil {
					got = string(v.data)
				}
			}
			if got != c.want {
				t.Errorf("%.20q, want %q", got, c.want)
			}
			if len(m.busy) != 0 {
				t.Errorf("%d keys are busy", len(m.busy))
			}
		})
	}
}

// The values of a batch have the revisions that the server gives them, and what is used
// least is forgotten first.
func TestMemoryIsBounded(t *testing.T) {
	m := newMemory(true)
	const each = maxRememberedValue / 2
	var writes []Write
	for i := range 2 * maxRemembered / each {
		writes = append(writes, Write{Key: fmt.Sprint(i), Value: make([]byte, each)})
	}
	if _, err := m.write("b", writes[:2], func() (uint64, error) { return 11, nil }); err != nil {
		t.Fatal(err)
	}
	for i, want := range []uint64{10, 11} {
		if v, ok := m.recall(place{"b", fmt.Sprint(i)}); !ok || v.revision != want {
			t.Errorf("%d: %v", i, v)
		}
	}
	for i, w := range writes[2:] {
		m.write("b", []Write{w}, func() (uint64, error) { return uint64(12 + i), nil })
		m.recall(place{"b", "0"}) // is used
	}
	if m.size > maxRemembered || len(m.entries) != m.order.Len() {
		t.Errorf("%d bytes, %d entries, %d in order", m.size, len(m.entries), m.order.Len())
	}
	for key, want := range map[string]bool{"0": true, "1": false, fmt.Sprint(len(writes) - 1): true} {
		if _, ok := m.recall(place{"b", key}); ok != want {
			t.Errorf("%s is remembered: %v", key, ok)
		}
	}
}

// A node says for certain that a key was never stored, also of one that it has not asked
// for, and not of one that it cannot read.
func TestAbsent(t *testing.T) {
	ctx := t.Context()
	n, err := Embedded(ctx, EmbeddedOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close(ctx)
	b, err := OpenBucket(ctx, n.JetStream(), "b", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.put(ctx, "there", []byte("value")); err != nil {
		t.Fatal(err)
	}
	b.memory.forget("b", newFilter("k"))
	if b.absent(ctx, "there") || !b.absent(ctx, "never") {
		t.Errorf("there: %v, never: %v", b.absent(ctx, "there"), b.absent(ctx, "never"))
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if b.absent(ended, "never") {
		t.Error("certain without an answer")
	}
	if _, err := b.Get(ended, "never"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v", err)
	}
}

// Of what is erased nothing is remembered, and all else is.
func TestFilter(t *testing.T) {
	f := newFilter("job/a", "spec/a.*", "*.b")
	for key, want := range map[string]bool{
		"job/a": false, "job/ab": false, "job/a.c": false, "spec/a.c": true, "spec/a": false, "spec/ab.c": false,
		"a.b": true, "b": false, "b.a": false, "*": false, "": false,
	} {
		if got := f.has(key); got != want {
			t.Errorf("%q: %v", key, got)
		}
	}
	if !f.keys["job/a"] || len(f.keys) != 1 || newFilter().has("a") {
		t.Errorf("%v", f.keys)
	}
}
