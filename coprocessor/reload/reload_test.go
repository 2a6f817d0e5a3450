package reload

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestValue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bad := errors.New("bad")
	loads, failures := 0, 0
	load := func() (string, error) {
		loads++
		data, err := os.ReadFile(path)
		if string(data) == "bad" {
			err = bad
		}
		return string(data), err
	}
	failed := func(err error) { failures++ }
	if _, err := Open(load, failed, path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("without a file: %v", err)
	}
	write("one")
	v, err := Open(load, failed, path)
	if err != nil {
		t.Fatal(err)
	}
	later := func() { v.checked = v.checked.Add(-interval) }

	steps := []struct {
		name            string
		change          func()
		want            string
		loads, failures int
	}{
		{"nothing", later, "one", 0, 0},
		{"at once", func() { write("three") }, "one", 0, 0},
		{"after a second", later, "three", 1, 0},
		{"of the same size", func() { write("seven"); later() }, "seven", 1, 0},
		{"broken", func() { write("bad"); later() }, "seven", 1, 1},
		{"still broken", later, "seven", 0, 0},
		{"gone", func() { os.Remove(path); later() }, "seven", 1, 1},
		{"still gone", later, "seven", 0, 0},
		{"back", func() { write("eight"); later() }, "eight", 1, 0},
		{"another file", func() {
			old, _ := os.Stat(path)
			write2 := path + ".new"
			if err := os.WriteFile(write2, []byte("nines"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(write2, old.ModTime(), old.ModTime()); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(write2, path); err != nil {
				t.Fatal(err)
			}
			later()
		}, "nines", 1, 0},
	}
	for _, s := range steps {
		time.Sleep(10 * time.Millisecond) // times of files are this coarse
		l, f := loads, failures
		s.change()
		if got := v.Get(); got != s.want || loads-l != s.loads || failures-f != s.failures {
			t.Errorf("%s: %q after %d loads and %d failures, want %q, %d, %d", s.name, got, loads-l, failures-f, s.want, s.loads, s.failures)
		}
	}
}
