// Package cuda is the accel.Backend of NVIDIA's GPUs, with the same bits as every
// other. Kernels (kernels/) are in PTX, which the driver compiles for whatever GPU
// there is, and compute modulo q in double precision, exactly. The driver is found when
// the program runs (Find); a program starts and works without one.
//
// A batch of bootstraps is uploaded, key-switched, rotated and extracted on a
// device, and downloaded. Keys stay on every device until they are closed. Each device has lanes, which are
// streams with page-locked buffers, so that the transfers of one batch go on while
// another is computed.
//
// Whatever a device cannot do, because it has no memory left or is lost, the host's
// backend computes, which holds the same keys for that. A device without memory is asked
// again for the next batch, with smaller ones. One that fails in any other way is not: after
// an error of a kernel or of the machine, CUDA answers every call of the process with it. Single transforms are the
// host's anyway (Backend.Ring): the way to the device takes longer; BatchRing has those of
// the device.
package cuda

import (
	"errors"
	"fmt"
	"sync"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
)

// Options of New.
type Options struct {
	// Host computes what devices do not. It is closed with the backend.
	Host accel.Backend
	// Devices are the indices of the devices to use; nil means all.
	Devices []int
	// Report, if not nil, is told when a device fails, from any goroutine.
	Report func(error)
}

// DeviceError says that a device cannot be used, or failed at work that the host then
// does.
type DeviceError struct {
	Device int
	Err    error
}

func (e *DeviceError) Error() string { return fmt.Sprintf("cuda device %d: %v", e.Device, e.Err) }

func (e *DeviceError) Unwrap() error { return e.Err }

// errNoDevice is what is left when every device is lost or lacks the keys.
var errNoDevice = errors.New("cuda: no device is left for this")

// lanesPerDevice: one computes while the transfers of the other go on.
const lanesPerDevice = 2

// Backend is the accel.PBSEngine of some devices.
type Backend struct {
	driver  string
	host    accel.Backend
	devices []*device
	report  func(error)

	mu    sync.Mutex
	freed sync.Cond // a lane is free or lost
	free  []*lane

	freeing sync.Mutex // held while keys are freed
	closed  bool       // guarded by freeing
}

// New opens devices. The error says what is wrong with the driver, or is the
// *DeviceError of the first device that cannot be used.
func New(o Options) (*Backend, error) {
	d, err := find()
	if err != nil {
		return nil, err
	}
	return Open(d, o)
}

// Open is New with a driver.
func Open(d driver.Driver, o Options) (_ *Backend, err error) {
	b := &Backend{driver: d.Name(), host: o.Host, report: o.Report}
	b.freed.L = &b.mu
	if b.report == nil {
		b.report = func(error) {}
	}
	all, err := d.Devices()
	if err != nil {
		return nil, err
	}
	chosen := o.Devices
	if chosen == nil {
		for i := range all {
			chosen = append(chosen, i)
		}
	}
	if len(chosen) == 0 {
		return nil, errors.New("there is no CUDA device")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.closeDevices())
		}
	}()
	for _, i := range chosen {
		if i < 0 || i >= len(all) {
			return nil, &DeviceError{i, fmt.Errorf("there are %d devices", len(all))}
		}
		dev, err := openDevice(d, i, all[i])
		if err != nil {
			return nil, &DeviceError{i, err}
		}
		b.devices = append(b.devices, dev)
		for range lanesPerDevice {
			stream, err := dev.NewStream()
			if err != nil {
				return nil, &DeviceError{i, err}
			}
			b.free = append(b.free, &lane{device: dev, stream: stream, buffers: make(map[string]*buffer)})
		}
	}
	return b, nil
}

// Info implements accel.Backend: the features are the driver and the devices.
func (b *Backend) Info() accel.Info {
	info := accel.Info{Name: "cuda", Features: []string{b.driver}}
	for _, d := range b.devices {
		info.Features = append(info.Features, fmt.Sprintf("%d: %s", d.index, d.properties.Name))
	}
	return info
}

// Ring implements accel.Backend with the host's ring.
func (b *Backend) Ring(n int, q uint64) (accel.Ring, error) { return b.host.Ring(n, q) }

// Close implements accel.Backend. Nothing of the backend may run any more.
func (b *Backend) Close() error { return errors.Join(b.closeDevices(), b.host.Close()) }

func (b *Backend) closeDevices() (err error) {
	b.freeing.Lock()
	b.closed = true
	b.freeing.Unlock()
	b.mu.Lock()
	free := b.free
	b.free = nil
	b.mu.Unlock()
	for _, l := range free {
		err = errors.Join(err, l.close())
	}
	for _, d := range b.devices {
		if !d.lost {
			err = errors.Join(err, d.Close())
		}
	}
	return err
}

// count adds to the bytes that keys take on a device.
func (b *Backend) count(d *device, bytes int64) {
	b.mu.Lock()
	d.keyBytes += bytes
	b.mu.Unlock()
}

// freeKey gives the memory of a key back. Devices that are lost or closed have given it
// up.
func (b *Backend) freeKey(d *device, p driver.Pointer, size int64) {
	b.freeing.Lock()
	defer b.freeing.Unlock()
	b.mu.Lock()
	d.keyBytes -= size
	gone := d.lost || b.closed
	b.mu.Unlock()
	if !gone {
		d.Free(p) // a device that cannot free fails at its next work
	}
}

// KeyMemory implements accel.PBSEngine: an eighth of the memory is left to batches.
func (b *Backend) KeyMemory() int64 {
	least := b.devices[0].properties.Memory
	for _, d := range b.devices {
		least = min(least, d.properties.Memory)
	}
	return least - least/8
}

// DeviceStates implements accel.PBSEngine.
func (b *Backend) DeviceStates() []accel.DeviceState {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []accel.DeviceState
	for _, d := range b.devices {
		all = append(all, accel.DeviceState{
			Index: d.index, Name: d.properties.Name, Lost: d.lost, Failures: d.failures, KeyBytes: d.keyBytes, Memory: d.properties.Memory,
		})
	}
	return all
}

// take waits for a free lane of a device that may be used and is fit; it returns
// nil when there is no such device.
func (b *Backend) take(fit func(*device) bool) *lane {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		for i, l := range b.free {
			if fit(l.device) {
				b.free = append(b.free[:i], b.free[i+1:]...)
				return l
			}
		}
		left := false
		for _, d := range b.devices {
			left = left || !d.lost && fit(d)
		}
		if !left {
			return nil
		}
		b.freed.Wait()
	}
}

// give returns a lane to the end of the queue, so that devices take turns.
func (b *Backend) give(l *lane) {
	b.mu.Lock()
	if !l.device.lost {
		b.free = append(b.free, l)
	}
	b.mu.Unlock()
	b.freed.Broadcast()
}

// lose takes a device out of use.
func (b *Backend) lose(d *device, err error) {
	b.mu.Lock()
	first := !d.lost
	d.lost = true
	d.failures++
	kept := b.free[:0]
	for _, l := range b.free {
		if l.device != d {
			kept = append(kept, l)
		}
	}
	b.free = kept
	b.mu.Unlock()
	b.freed.Broadcast()
	if first {
		b.report(&DeviceError{d.index, fmt.Errorf("it is lost: %w", err)})
	}
}

// run does work on a lane of a device that is fit. enqueue queues the work and
// returns what is to be done when it has ended. A device that fails is lost and the work
// goes to another one; the error is that of memory that is not there, or
// errNoDevice.
func (b *Backend) run(fit func(*device) bool, enqueue func(*work) (finish func())) error {
	for {
		l := b.take(fit)
		if l == nil {
			return errNoDevice
		}
		w := &work{lane: l}
		finish := enqueue(w)
		// Also after an error: what was queued must not go on behind its back.
		if err := l.stream.Wait(); w.err == nil {
			w.err = err
		}
		switch {
		case w.err == nil:
			finish()
			b.give(l)
			return nil
		case driver.IsOutOfMemory(w.err):
			err := &DeviceError{l.device.index, w.err}
			b.mu.Lock()
			l.device.failures++
			b.mu.Unlock()
			l.shrink()
			b.give(l)
			return err
		}
		b.lose(l.device, w.err)
	}
}

// fallBack reports that the host computes what the devices did not.
func (b *Backend) fallBack(err error) {
	if driver.IsOutOfMemory(err) {
		b.report(err)
	}
}
