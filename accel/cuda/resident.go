package cuda

import (
	"runtime"
	"sync"

	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
)

// residentKey is key material on devices, until it is closed and nobody uses it any
// more.
type residentKey struct {
	backend *Backend
	size    int64

	mu     sync.Mutex
	on     map[*device]driver.Pointer
	unfit  map[*device]bool // a part of the key is missing there
	users  int
	closed bool
}

// newResidentKey allocates size bytes on every device that has them.
func newResidentKey(b *Backend, size int) *residentKey {
	k := &residentKey{backend: b, size: int64(size), on: make(map[*device]driver.Pointer), unfit: make(map[*device]bool)}
	for _, d := range b.devices {
		err := b.run(only(d), func(w *work) func() {
			p, err := d.Alloc(size)
			w.err = err
			return func() {
				k.on[d] = p
				b.count(d, k.size)
			}
		})
		if err != nil {
			b.fallBack(err)
		}
	}
	return k
}

// closeWith closes the key when owner is garbage, for those who have not closed it.
func closeWith[T any](owner *T, k *residentKey) {
	runtime.AddCleanup(owner, func(k *residentKey) { k.Close() }, k)
}

func only(d *device) func(*device) bool { return func(other *device) bool { return other == d } }

// filling returns rows that also brings what it yields to every device that has room
// for the key; a device that fails does without the key. Piece i is loaded to i*each bytes
// from its beginning.
func filling[T number](k *residentKey, each int, rows func(i int, dst []T), load func(w *work, to driver.Pointer, src []T)) func(i int, dst []T) {
	return func(i int, dst []T) {
		rows(i, dst)
		for _, d := range k.backend.devices {
			if !k.has(d) {
				continue
			}
			err := k.backend.run(only(d), func(w *work) func() {
				load(w, k.pointer(d)+driver.Pointer(i*each), dst)
				return func() {}
			})
			if err != nil {
				k.backend.fallBack(err)
				k.mu.Lock()
				k.unfit[d] = true
				k.mu.Unlock()
			}
		}
	}
}

// use keeps the key where it is until release is called.
func (k *residentKey) use() (release func()) {
	k.mu.Lock()
	k.users++
	k.mu.Unlock()
	return func() {
		k.mu.Lock()
		k.users--
		k.mu.Unlock()
		k.freeUnused()
	}
}

// Close gives the memory of the key back to the devices, when those who use it have
// ended. Whoever comes later is left to the host.
func (k *residentKey) Close() error {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.freeUnused()
	return nil
}

func (k *residentKey) freeUnused() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed || k.users > 0 {
		return
	}
	for d, p := range k.on {
		k.backend.freeKey(d, p, k.size)
	}
	clear(k.on)
}

// has says that work may begin on a device with the key.
func (k *residentKey) has(d *device) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.on[d]
	return ok && !k.unfit[d] && !k.closed
}

// pointer is where the key is on a device that has it. Of users alone.
func (k *residentKey) pointer(d *device) driver.Pointer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.on[d]
}
