package cpu_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/acceltest"
	"github.com/tacit-fhe/tacit/accel/cpu"
)

func open(tb testing.TB, name string) accel.Backend {
	tb.Helper()
	b, err := cpu.Open(name)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestConformance(t *testing.T) {
	for _, name := range cpu.Available() {
		t.Run(name, func(t *testing.T) {
			acceltest.Run(t, func() accel.Backend { return open(t, name) })
		})
	}
}

func TestOpen(t *testing.T) {
	names := cpu.Available()
	if !slices.Contains(names, "portable") {
		t.Fatalf("available: %v, want portable among them", names)
	}
	for _, name := range names {
		if got := open(t, name).Info().Name; got != name {
			t.Errorf("Open(%q) gives %q", name, got)
		}
		t.Setenv(cpu.EnvVar, name)
		b, err := cpu.New()
		if err != nil || b.Info().Name != name {
			t.Errorf("New with %s=%s: %v, %v", cpu.EnvVar, name, b, err)
		}
	}
	t.Setenv(cpu.EnvVar, "")
	b, err := cpu.New()
	if err != nil || b.Info().Name != names[0] {
		t.Errorf("New: %v, %v, want %s", b, err, names[0])
	}
	var unavailable *cpu.UnavailableError
	if _, err := cpu.Open("abacus"); !errors.As(err, &unavailable) || unavailable.Name != "abacus" {
		t.Errorf("Open(abacus): %v, want an UnavailableError", err)
	}
}

func BenchmarkBackend(b *testing.B) {
	for _, name := range cpu.Available() {
		b.Run(name, func(b *testing.B) { acceltest.Benchmark(b, open(b, name)) })
	}
}
