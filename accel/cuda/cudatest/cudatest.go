// Package cudatest gives tests the CUDA backend on emulated devices: the shipped
// kernels, and devices that can be made to fail.
package cudatest

import (
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/accel/cuda"
	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
	"github.com/tacit-fhe/tacit/accel/cuda/internal/emulated"
)

// Driver has emulated devices; its fields set their size and make them fail.
type Driver = emulated.Driver

// NewDriver returns a driver with so many devices.
func NewDriver(devices int) *Driver { return emulated.New(devices) }

// Errors of a device.
var (
	ErrLost        error = &driver.Error{Call: "cuLaunchKernel", Code: 719}
	ErrOutOfMemory error = &driver.Error{Call: "cuMemAlloc", Code: driver.OutOfMemory}
)

// Open opens a backend that is closed when the test ends. report is told of failures
// of devices; nil fails the test.
func Open(t testing.TB, d *Driver, report func(error)) *cuda.Backend {
	t.Helper()
	if report == nil {
		report = func(err error) { t.Error(err) }
	}
	host, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	b, err := cuda.Open(d, cuda.Options{Host: host, Report: report})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Conformance is a backend for the conformance suite: its rings are those of the
// device.
func Conformance(b *cuda.Backend) accel.Backend { return onDevice{b} }

type onDevice struct{ *cuda.Backend }

func (b onDevice) Ring(n int, q uint64) (accel.Ring, error) {
	r, err := b.BatchRing(n, q)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Close leaves the backend to the test that opened it.
func (b onDevice) Close() error { return nil }
