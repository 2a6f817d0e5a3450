// Package reload keeps a value that is read from files in step with them.
package reload

import (
	"os"
	"sync"
	"time"
)

// interval is how long the files are trusted not to have changed.
const interval = time.Second

// Value is what a function reads from files. It is safe for concurrent use.
type Value[T any] struct {
	load   func() (T, error)
	failed func(error)
	paths  []string

	mu      sync.Mutex
	value   T
	seen    []os.FileInfo // of each path when it was last read; nil for one that was absent
	checked time.Time
}

// Open reads a value with load, which reads the files at paths, or returns the
// error of load. A later error is handed to failed, once for each change of the
// files, and the value stays as it was.
func Open[T any](load func() (T, error), failed func(error), paths ...string) (*Value[T], error) {
	v := &Value[T]{load: load, failed: failed, paths: paths, checked: time.Now()}
	v.seen = v.stat()
	var err error
	v.value, err = load()
	return v, err
}

// Get returns the value, read again if a file has changed and the last look is
// more than a second ago.
func (v *Value[T]) Get() T { return v.get(interval) }

// Now returns the value, read again if a file has changed.
func (v *Value[T]) Now() T { return v.get(0) }

func (v *Value[T]) get(trust time.Duration) T {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now := time.Now(); now.Sub(v.checked) >= trust {
		v.checked = now
		// The files are looked at before they are read: a change in between is
		// found the next time.
		if files := v.stat(); !same(files, v.seen) {
			v.seen = files
			if value, err := v.load(); err != nil {
				v.failed(err)
			} else {
				v.value = value
			}
		}
	}
	return v.value
}

func (v *Value[T]) stat() []os.FileInfo {
	files := make([]os.FileInfo, len(v.paths))
	for i, path := range v.paths {
		if f, err := os.Stat(path); err == nil {
			files[i] = f
		}
	}
	return files
}

func same(a, b []os.FileInfo) bool {
	for i := range a {
		if a[i] == nil || b[i] == nil {
			if a[i] != b[i] {
				return false
			}
			continue
		}
		if !os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()) {
			return false
		}
	}
	return true
}
