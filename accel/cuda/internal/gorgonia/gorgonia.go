//go:build cuda

// Package gorgonia is the CUDA driver through gorgonia.org/cu, for builds with
// -tags cuda. Link them with shim/ and they start where no driver is: shim/build.sh
// says how.
package gorgonia

import (
	"errors"
	"reflect"
	"runtime"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
)

// Open finds the driver, which cu has initialised.
func Open() (driver.Driver, error) {
	count, err := cu.NumDevices()
	if err != nil {
		return nil, failed("cuDeviceGetCount", err)
	}
	if count == 0 {
		return nil, errors.New("there is no NVIDIA driver, or it has no device")
	}
	return library{}, nil
}

// failed turns an error of cu, an int that is the CUresult, into a driver.Error.
func failed(call string, err error) error {
	if v := reflect.ValueOf(err); v.Kind() == reflect.Int {
		return &driver.Error{Call: call, Code: int(v.Int())}
	}
	return err
}

type library struct{}

func (library) Name() string { return "gorgonia.org/cu" }

func (library) Devices() ([]driver.Properties, error) {
	count, err := cu.NumDevices()
	if err != nil {
		return nil, failed("cuDeviceGetCount", err)
	}
	var all []driver.Properties
	for i := range count {
		d, err := cu.GetDevice(i)
		if err != nil {
			return nil, failed("cuDeviceGet", err)
		}
		p := driver.Properties{Driver: cu.Version()}
		if p.Name, err = d.Name(); err != nil {
			return nil, failed("cuDeviceGetName", err)
		}
		if p.Memory, err = d.TotalMem(); err != nil {
			return nil, failed("cuDeviceTotalMem", err)
		}
		var values [len(driver.Attributes)]int32
		for i, attribute := range driver.Attributes {
			v, err := d.Attribute(cu.DeviceAttribute(attribute))
			if err != nil {
				return nil, failed("cuDeviceGetAttribute", err)
			}
			values[i] = int32(v)
		}
		p.SetAttributes(values)
		all = append(all, p)
	}
	return all, nil
}

func (library) Open(index int) (driver.Device, error) {
	dev, err := cu.GetDevice(index)
	if err != nil {
		return nil, failed("cuDeviceGet", err)
	}
	d := &device{number: dev}
	d.context, err = dev.RetainPrimaryCtx()
	return d, failed("cuDevicePrimaryCtxRetain", err)
}

type device struct {
	number  cu.Device
	context cu.CUContext
}

// in runs f in the context of the device, which belongs to the thread.
func (d *device) in(call string, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cu.SetCurrentContext(d.context); err != nil {
		return failed("cuCtxSetCurrent", err)
	}
	return failed(call, f())
}

func (d *device) Kernels(ptx string) (driver.Module, error) {
	m := module{device: d}
	err := d.in("cuModuleLoadData", func() (err error) {
		m.Module, err = cu.LoadData(ptx)
		return err
	})
	return m, err
}

type module struct {
	*device
	cu.Module
}

func (m module) Kernel(name string, shared int) (driver.Kernel, error) {
	var f cu.Function
	if err := m.in("cuModuleGetFunction", func() (err error) {
		f, err = m.Function(name)
		return err
	}); err != nil {
		return nil, err
	}
	return f, m.in("cuFuncSetAttribute", func() error { return allowShared(f, shared) })
}

func (d *device) Alloc(size int) (p driver.Pointer, err error) {
	err = d.in("cuMemAlloc", func() error {
		q, err := cu.MemAlloc(int64(size))
		p = driver.Pointer(q)
		return err
	})
	return p, err
}

func (d *device) Free(p driver.Pointer) error {
	return d.in("cuMemFree", func() error { return cu.MemFree(cu.DevicePtr(p)) })
}

func (d *device) AllocHost(size int) (m []byte, err error) {
	err = d.in("cuMemHostAlloc", func() (err error) {
		m, err = allocHost(size)
		return err
	})
	return m, err
}

func (d *device) FreeHost(m []byte) error {
	return d.in("cuMemFreeHost", func() error { return cu.MemFreeHost(unsafe.Pointer(unsafe.SliceData(m))) })
}

func (d *device) NewStream() (driver.Stream, error) {
	s := &stream{device: d}
	err := d.in("cuStreamCreate", func() (err error) {
		s.Stream, err = cu.MakeStream(cu.NonBlocking)
		return err
	})
	return s, err
}

func (d *device) Close() error {
	return failed("cuDevicePrimaryCtxRelease", d.number.ReleasePrimaryCtx())
}

type stream struct {
	*device
	cu.Stream
}

func (s *stream) Upload(dst driver.Pointer, src []byte) error {
	return s.in("cuMemcpyHtoDAsync", func() error {
		return cu.MemcpyHtoDAsync(cu.DevicePtr(dst), unsafe.Pointer(unsafe.SliceData(src)), int64(len(src)), s.Stream)
	})
}

func (s *stream) Download(dst []byte, src driver.Pointer) error {
	return s.in("cuMemcpyDtoHAsync", func() error {
		return cu.MemcpyDtoHAsync(unsafe.Pointer(unsafe.SliceData(dst)), cu.DevicePtr(src), int64(len(dst)), s.Stream)
	})
}

// Launch relies on cu to copy 8 bytes of each parameter to memory of C.
func (s *stream) Launch(k driver.Kernel, blocks, threads, shared int, params ...uint64) error {
	pointers := make([]unsafe.Pointer, len(params))
	for i := range params {
		pointers[i] = unsafe.Pointer(&params[i])
	}
	return s.in("cuLaunchKernel", func() error {
		return k.(cu.Function).Launch(blocks, 1, 1, threads, 1, 1, shared, s.Stream, pointers)
	})
}

func (s *stream) Wait() error {
	return s.in("cuStreamSynchronize", func() error { return s.Synchronize() })
}

func (s *stream) Close() error {
	return s.in("cuStreamDestroy", func() error { return s.Destroy() })
}
