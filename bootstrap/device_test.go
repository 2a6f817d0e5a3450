package bootstrap

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cuda/cudatest"
	"github.com/tacit-fhe/tacit/fhe"
)

// deviceTasks are bootstraps with one and two outputs.
func (f *fixture) deviceTasks(t testing.TB, count int) []fhe.PBS {
	pair := f.lut(t, 0, 7, func(m int64) int64 { return m & 3 }, func(m int64) int64 { return m >> 2 })
	single := f.lut(t, 0, 15, func(m int64) int64 { return 15 - m })
	tasks := make([]fhe.PBS, count)
	for i, in := range f.encrypt("device", 7, 0, 1, 2, 3, 4, 5, 6, 7)[:count] {
		tasks[i] = fhe.PBS{In: in, LUT: pair}
		if i%3 == 2 {
			tasks[i].LUT = single
		}
	}
	return tasks
}

func outputs(tasks []fhe.PBS) (out []fhe.LWE) {
	for _, task := range tasks {
		out = append(out, task.Out...)
	}
	return out
}

// Bootstraps on an emulated device, from the key switch to the extraction, have the
// bits of the processor, for every kind of key, with a few ciphertexts and with more.
func TestDeviceBootstraps(t *testing.T) {
	presets := []string{"insecure-test-unroll2-v1", "insecure-test-unroll3-v1", "insecure-test-block3-v1", fhe.TestPreset}
	if testing.Short() {
		presets = presets[:1]
	}
	for _, preset := range presets {
		f := load(t, preset)
		eval, err := NewEvaluator(f.keys.Evaluation, cudatest.Open(t, cudatest.NewDriver(1), nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, count := range []int{1, 5} {
			got, want := f.deviceTasks(t, count), f.deviceTasks(t, count)
			if err := eval.Bootstrap(t.Context(), got); err != nil {
				t.Fatal(err)
			}
			if err := f.eval.Bootstrap(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			if digest(outputs(got)) != digest(outputs(want)) {
				t.Errorf("%s: %d bootstraps differ from those of the processor", preset, count)
			}
			for i, task := range got {
				if task.Out[0].Bound != want[i].Out[0].Bound {
					t.Errorf("%s: bound %v, want %v", preset, task.Out[0].Bound, want[i].Out[0].Bound)
				}
			}
		}
	}
}

// Migrations on a device have the bits of the processor, and so has what is left when the
// evaluator and the migrator are closed.
func TestDeviceMigrates(t *testing.T) {
	from, to := load(t, fhe.TestPreset), load(t, "insecure-test-unroll2-v1")
	key, err := fhe.NewMigrationKey(from.keys.Secret, to.keys.Secret)
	if err != nil {
		t.Fatal(err)
	}
	in := from.encrypt("device", 3, 0, 1, 2, 3, 1)
	want, err := rotate2(t, from, to).migrator.Migrate(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	d := cudatest.NewDriver(1)
	var launches atomic.Int64
	d.Fault = func(_ int, call string) error {
		if call == "cuLaunchKernel" {
			launches.Add(1)
		}
		return nil
	}
	backend := cudatest.Open(t, d, nil)
	eval, err := NewEvaluator(to.keys.Evaluation, backend)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMigrator(key, eval)
	if err != nil {
		t.Fatal(err)
	}
	for _, closed := range []bool{false, true} {
		if closed {
			if err := errors.Join(eval.Close(), m.Close()); err != nil {
				t.Error(err)
			}
			if bytes := backend.DeviceStates()[0].KeyBytes; bytes != 0 {
				t.Errorf("%d bytes of keys are left on the device", bytes)
			}
		}
		before := launches.Load()
		got, err := m.Migrate(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if digest(got) != digest(want) {
			t.Error("the migration differs from that of the processor")
		}
		if onDevice := launches.Load() > before; onDevice == closed {
			t.Errorf("closed %v, launches %v", closed, onDevice)
		}
	}
}

// A batcher over a device that is lost, or full, in the middle of the work loses
// nothing.
func TestBatcherSurvivesTheDevice(t *testing.T) {
	f := load(t, fhe.TestPreset)
	want := f.deviceTasks(t, 8)
	if err := f.eval.Bootstrap(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		call    string
		after   int // launches
		failure error
	}{{"cuLaunchKernel", 5, cudatest.ErrLost}, {"cuMemAlloc", 0, cudatest.ErrOutOfMemory}} {
		t.Run(c.call, func(t *testing.T) {
			var mu sync.Mutex
			loaded, launches, reports := false, 0, 0
			d := cudatest.NewDriver(1)
			d.Fault = func(_ int, call string) error {
				mu.Lock()
				defer mu.Unlock()
				if loaded && call == "cuLaunchKernel" {
					launches++
				}
				if loaded && launches >= c.after && call == c.call {
					return c.failure
				}
				return nil
			}
			eval, err := NewEvaluator(f.keys.Evaluation, cudatest.Open(t, d, func(error) {
				mu.Lock()
				defer mu.Unlock()
				reports++
			}))
			if err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			loaded = true
			mu.Unlock()
			b := NewBatcher(eval, 1)
			defer b.Close()
			got := f.deviceTasks(t, 8)
			var wg sync.WaitGroup
			for i := range got {
				wg.Go(func() {
					if err := b.Bootstrap(t.Context(), got[i:i+1]); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if digest(outputs(got)) != digest(outputs(want)) {
				t.Error("the bootstraps differ from those of the processor")
			}
			if reports == 0 {
				t.Error("nothing was reported")
			}
		})
	}
}
