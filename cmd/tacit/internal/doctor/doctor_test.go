package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cpu"
)

func TestRun(t *testing.T) {
	for _, c := range Run(t.Context()) {
		if !c.OK {
			t.Errorf("%s: %s", c.Name, c.Detail)
		}
	}
}

func TestUnknownBackend(t *testing.T) {
	t.Setenv(cpu.EnvVar, "abacus")
	checks := Run(t.Context())
	if last := checks[len(checks)-1]; Healthy(checks) || last.Name != "backend" || !strings.Contains(last.Detail, "abacus") {
		t.Errorf("got %+v", checks)
	}
}

// wrong is a backend that computes one residue wrongly.
type wrong struct{ accel.Backend }

func (w wrong) Rotator(spec accel.RotatorSpec, ggsw func(i int, dst []uint64)) (accel.Rotator, error) {
	r, err := w.Backend.Rotator(spec, ggsw)
	return wrongRotator{r}, err
}

type wrongRotator struct{ accel.Rotator }

func (r wrongRotator) Rotate(acc [][]uint64, exps [][]uint32) {
	r.Rotator.Rotate(acc, exps)
	acc[0][1] ^= 1
}

func TestWrongResultIsSeen(t *testing.T) {
	b, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := knownAnswer(t.Context(), wrong{b}); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("got %v", err)
	}
}

func TestAvailableMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meminfo")
	for text, want := range map[string]uint64{
		"MemTotal:  16 kB\nMemAvailable:   7 kB\n": 7 << 10,
		"MemAvailable: 7\n":                        0,
		"MemAvailable: x kB\n":                     0,
		"":                                         0,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := availableMemory(path); got != want || ok != (want > 0) {
			t.Errorf("%q: %d, %v", text, got, ok)
		}
	}
	if _, ok := availableMemory(path + ".none"); ok {
		t.Error("a file that is not there")
	}
}
