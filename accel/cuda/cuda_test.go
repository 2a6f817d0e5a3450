package cuda_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/acceltest"
	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/accel/cuda"
	"github.com/tacit-fhe/tacit/accel/cuda/cudatest"
	"github.com/tacit-fhe/tacit/accel/internal/xof"
)

// TestConformance runs the shipped PTX on emulated devices, which find races and
// accesses out of bounds.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute of emulation")
	}
	acceltest.RunSmall(t, func() accel.Backend {
		return cudatest.Conformance(cudatest.Open(t, cudatest.NewDriver(1), nil))
	})
}

// TestGPU runs the whole suite on the GPUs of this machine. TACIT_TEST_DEVICE=cuda
// makes it fail where there are none.
func TestGPU(t *testing.T) {
	processor, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	b, err := cuda.New(cuda.Options{Host: processor, Report: func(err error) { t.Error(err) }})
	switch {
	case err == nil:
	case os.Getenv("TACIT_TEST_DEVICE") == "cuda":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
	defer b.Close()
	t.Log(b.Info().Features)
	acceltest.Run(t, func() accel.Backend { return cudatest.Conformance(b) })
}

// The shapes that tests of failures use.
var (
	rotation  = accel.RotatorSpec{N: 256, Rank: 1, Q: acceltest.Q, BaseLog: 22, Levels: 1, Steps: 2, Mode: accel.Unrolled, Terms: 3}
	keySwitch = accel.KeySwitchSpec{NIn: 256, NOut: 4, Q: acceltest.Q, BaseLog: 2, Levels: 8}
)

func rotatorKey(i int, dst []uint64) { xof.New(fmt.Sprintf("GGSW %d", i)).Residues(dst, acceltest.Q) }

func switchKey(i int, dst []uint32) { xof.New(fmt.Sprintf("rows %d", i)).Words(dst) }

// solve rotates and switches so many ciphertexts.
func solve(t *testing.T, b accel.Backend, count int) [][]uint64 {
	t.Helper()
	r, k := keys(t, b)
	return compute(r, k, count)
}

func keys(t *testing.T, b accel.Backend) (accel.Rotator, accel.KeySwitcher) {
	t.Helper()
	r, err := b.Rotator(rotation, rotatorKey)
	if err != nil {
		t.Fatal(err)
	}
	k, err := b.KeySwitcher(keySwitch, switchKey)
	if err != nil {
		t.Fatal(err)
	}
	return r, k
}

func compute(r accel.Rotator, k accel.KeySwitcher, count int) [][]uint64 {
	var acc, in, results [][]uint64
	var exps, out [][]uint32
	for i := range count {
		acc, in = append(acc, make([]uint64, 2*rotation.N)), append(in, make([]uint64, keySwitch.NIn+1))
		exps, out = append(exps, make([]uint32, rotation.Steps*rotation.Terms)), append(out, make([]uint32, keySwitch.NOut+1))
		xof.New(fmt.Sprintf("accumulator %d", i)).Residues(acc[i], acceltest.Q)
		xof.New(fmt.Sprintf("LWE %d", i)).Residues(in[i], acceltest.Q)
		xof.New(fmt.Sprintf("exponents %d", i)).Words(exps[i])
	}
	r.Rotate(acc, exps)
	k.Switch(out, in)
	for i := range count {
		words := acc[i]
		for _, x := range out[i] {
			words = append(words, uint64(x))
		}
		results = append(results, words)
	}
	return results
}

// host solves on the processor.
func host(t *testing.T, count int) [][]uint64 {
	b, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	return solve(t, b, count)
}

func same(t *testing.T, got, want [][]uint64) {
	t.Helper()
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("result %d differs from that of the host", i)
		}
	}
}

// log collects reports.
type log struct {
	mu      sync.Mutex
	reports []error
}

func (l *log) report(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reports = append(l.reports, err)
}

func (l *log) want(t *testing.T, count int, text string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.reports) != count {
		t.Fatalf("reports %v, want %d", l.reports, count)
	}
	for _, err := range l.reports {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("report %q, want %q in it", err, text)
		}
	}
}

func TestSeveralDevicesAndCallers(t *testing.T) {
	b := cudatest.Open(t, cudatest.NewDriver(3), nil)
	want := host(t, 5)
	r, k := keys(t, b)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { same(t, compute(r, k, 5), want) })
	}
	wg.Wait()
	if n := len(b.Devices()); n != 3 {
		t.Errorf("%d devices", n)
	}
	if info := b.Info(); info.Name != "cuda" || len(info.Features) != 4 {
		t.Errorf("info %+v", info)
	}
}

// Whatever call fails, results are those of the host, and whoever runs the service
// is told.
func TestDeviceLoss(t *testing.T) {
	want := host(t, 3)
	afters := []int{0, 1, 20}
	if testing.Short() {
		afters = afters[1:2]
	}
	for _, call := range []string{"cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuLaunchKernel", "cuStreamSynchronize", "cuMemHostAlloc", "cuMemAlloc"} {
		for _, after := range afters {
			d := cudatest.NewDriver(2)
			var mu sync.Mutex
			seen := 0
			lost := make(map[int]bool)
			d.Fault = func(device int, c string) error {
				mu.Lock()
				defer mu.Unlock()
				if c == call {
					if seen++; seen > after {
						lost[device] = true
					}
				}
				if lost[device] {
					return cudatest.ErrLost
				}
				return nil
			}
			var l log
			b := cudatest.Open(t, d, l.report)
			same(t, solve(t, b, 3), want)
			mu.Lock()
			l.want(t, len(lost), "lost")
			mu.Unlock()
		}
	}
}

// A device that has no room for a key leaves it to the host.
func TestNoMemoryForKeys(t *testing.T) {
	d := cudatest.NewDriver(1)
	d.Properties[0].Memory = 1 << 10
	var l log
	b := cudatest.Open(t, d, l.report)
	same(t, solve(t, b, 3), host(t, 3))
	l.want(t, 2, "out of memory")
}

// A device that is full when a batch comes is asked again for the next one.
func TestNoMemoryForABatch(t *testing.T) {
	d := cudatest.NewDriver(1)
	full := false
	d.Fault = func(_ int, call string) error {
		if full && call == "cuMemAlloc" {
			return cudatest.ErrOutOfMemory
		}
		return nil
	}
	var l log
	b := cudatest.Open(t, d, l.report)
	r, k := keys(t, b)
	want := host(t, 3)
	full = true
	same(t, compute(r, k, 3), want)
	l.want(t, 2, "out of memory")
	full = false
	same(t, compute(r, k, 3), want)
	l.want(t, 2, "out of memory")
}

// TestEveryCallMayFail has each call of a batch fail in turn, for good or for want of
// memory: results are those of the host, or whoever asked for whole bootstraps is told,
// and a device that is not lost computes the next batch.
func TestEveryCallMayFail(t *testing.T) {
	want := host(t, 3)
	wantTasks := bootstraps(3)
	for _, failure := range []error{cudatest.ErrLost, cudatest.ErrOutOfMemory} {
		calls := 1
		for at := 0; at < calls; at++ {
			d := cudatest.NewDriver(1)
			var mu sync.Mutex
			armed, seen, lost := false, 0, false
			d.Fault = func(_ int, call string) error {
				mu.Lock()
				defer mu.Unlock()
				if !armed {
					return nil
				}
				seen++
				if lost = lost || failure == cudatest.ErrLost && seen > at; lost || seen == at+1 {
					return failure
				}
				return nil
			}
			var l log
			b := cudatest.Open(t, d, l.report)
			r, k := keys(t, b)
			pbs, err := b.PBS(r, k)
			if err != nil {
				t.Fatal(err)
			}
			// Without a failure, for the number of calls and the results.
			if at == 0 {
				mu.Lock()
				armed, seen = true, -1<<30
				mu.Unlock()
				compute(r, k, 3)
				if err := pbs.Bootstrap(wantTasks); err != nil {
					t.Fatal(err)
				}
				mu.Lock()
				calls, armed, seen = seen+1<<30, false, 0
				mu.Unlock()
				b = cudatest.Open(t, d, l.report)
				if r, k = keys(t, b); err != nil {
					t.Fatal(err)
				}
				if pbs, err = b.PBS(r, k); err != nil {
					t.Fatal(err)
				}
			}
			mu.Lock()
			armed = true
			mu.Unlock()
			same(t, compute(r, k, 3), want)
			tasks := bootstraps(3)
			if err := pbs.Bootstrap(tasks); err == nil {
				same(t, tasksOut(tasks), tasksOut(wantTasks))
			} else if failure != cudatest.ErrLost {
				t.Errorf("call %d: %v", at, err)
			}
			mu.Lock()
			armed = false
			mu.Unlock()
			same(t, compute(r, k, 3), want)
			l.want(t, 1, failure.Error()[len("cuLaunchKernel"):])
			if state := b.DeviceStates()[0]; state.Lost != (failure == cudatest.ErrLost) || state.Failures != 1 {
				t.Errorf("call %d: state %+v", at, state)
			}
		}
		if calls < 20 {
			t.Errorf("%d calls", calls)
		}
	}
}

// bootstraps are tasks of some shape, without results yet.
func bootstraps(count int) []accel.PBSTask {
	tasks := make([]accel.PBSTask, count)
	for i := range tasks {
		tasks[i] = accel.PBSTask{
			In: make([]uint64, keySwitch.NIn+1), Test: make([]uint64, rotation.N), Offsets: []int{0, 200},
			Out: [][]uint64{make([]uint64, rotation.N+1), make([]uint64, rotation.N+1)},
		}
		xof.New(fmt.Sprintf("LWE %d", i)).Residues(tasks[i].In, acceltest.Q)
		xof.New(fmt.Sprintf("test %d", i)).Residues(tasks[i].Test, acceltest.Q)
	}
	return tasks
}

func tasksOut(tasks []accel.PBSTask) (out [][]uint64) {
	for _, task := range tasks {
		out = append(out, task.Out...)
	}
	return out
}

// The memory of keys goes back to the devices when they are closed, or when nobody
// has them any more.
func TestKeysAreFreed(t *testing.T) {
	d := cudatest.NewDriver(2)
	freed := make(chan struct{}, 100)
	var loaded atomic.Bool
	d.Fault = func(_ int, call string) error {
		if loaded.Load() && call == "cuMemFree" {
			freed <- struct{}{}
		}
		return nil
	}
	b := cudatest.Open(t, d, nil)
	r, k := keys(t, b)
	for _, state := range b.DeviceStates() {
		if want := int64(8*2*4*2*2*256 + 4*256*8*5); state.KeyBytes != want {
			t.Errorf("keys take %d bytes, want %d", state.KeyBytes, want)
		}
	}
	loaded.Store(true)
	for _, key := range []any{r, k} {
		for range 2 { // a second time does nothing
			if err := key.(io.Closer).Close(); err != nil {
				t.Error(err)
			}
		}
	}
	for _, state := range b.DeviceStates() {
		if state.KeyBytes != 0 {
			t.Errorf("keys take %d bytes", state.KeyBytes)
		}
	}
	if len(freed) != 4 {
		t.Errorf("%d buffers freed", len(freed))
	}
	same(t, compute(r, k, 2), host(t, 2)) // on the host
	for range 4 {
		<-freed
	}
	loaded.Store(false)
	keys(t, b)
	loaded.Store(true)
	runtime.GC()
	for range 4 {
		<-freed
	}
}

// A key that is closed while a batch uses it stays until the batch has ended.
func TestKeysOutliveTheirUse(t *testing.T) {
	d := cudatest.NewDriver(1)
	inside, closed := make(chan struct{}), make(chan struct{})
	var hold atomic.Bool
	d.Fault = func(_ int, call string) error {
		if call == "cuLaunchKernel" && hold.CompareAndSwap(true, false) {
			close(inside)
			<-closed
		}
		return nil
	}
	b := cudatest.Open(t, d, nil)
	r, k := keys(t, b)
	hold.Store(true)
	var results [][]uint64
	var wg sync.WaitGroup
	wg.Go(func() { results = compute(r, k, 2) })
	<-inside // of the rotation
	if err := r.(io.Closer).Close(); err != nil {
		t.Error(err)
	}
	if state := b.DeviceStates()[0]; state.KeyBytes == 0 {
		t.Error("the key is gone while it is in use")
	}
	close(closed)
	wg.Wait()
	same(t, results, host(t, 2))
	if err := k.(io.Closer).Close(); err != nil {
		t.Error(err)
	}
	if state := b.DeviceStates()[0]; state.KeyBytes != 0 {
		t.Errorf("keys take %d bytes", state.KeyBytes)
	}
}

func TestOpenRefuses(t *testing.T) {
	processor, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	old := cudatest.NewDriver(1)
	old.Properties[0].Capability = 75
	broken := cudatest.NewDriver(1)
	broken.Fault = func(_ int, call string) error {
		if call == "cuModuleLoadData" {
			return cudatest.ErrLost
		}
		return nil
	}
	for _, c := range []struct {
		driver  *cudatest.Driver
		devices []int
		want    string
	}{
		{cudatest.NewDriver(0), nil, "no CUDA device"},
		{cudatest.NewDriver(2), []int{2}, "there are 2 devices"},
		{cudatest.NewDriver(2), []int{-1}, "there are 2 devices"},
		{old, nil, "compute capability 7.5"},
		{broken, nil, "launch failed"},
	} {
		_, err := cuda.Open(c.driver, cuda.Options{Host: processor, Devices: c.devices})
		var deviceError *cuda.DeviceError
		if err == nil || !strings.Contains(err.Error(), c.want) || c.want != "no CUDA device" && !errors.As(err, &deviceError) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

func TestPBSChecksShapes(t *testing.T) {
	b := cudatest.Open(t, cudatest.NewDriver(1), nil)
	r, err := b.Rotator(rotation, rotatorKey)
	if err != nil {
		t.Fatal(err)
	}
	k, err := b.KeySwitcher(accel.KeySwitchSpec{NIn: 256, NOut: 5, Q: acceltest.Q, BaseLog: 2, Levels: 8}, switchKey)
	if err != nil {
		t.Fatal(err)
	}
	var unsupported *accel.UnsupportedError
	if _, err := b.PBS(r, k); !errors.As(err, &unsupported) {
		t.Errorf("5 key bits for 2 steps of 2: %v", err)
	}
}
