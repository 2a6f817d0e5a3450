// Package doctor checks that this machine computes right: the self-test of every
// implementation that runs here, and one key generation and bootstrap, each
// against known answers.
package doctor

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/cpu"

	"github.com/tacit-fhe/tacit/accel"
	accelcpu "github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/accel/cuda"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/fhe"
)

// Check is one finding.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

const (
	// knownKey, knownBootstrap and knownPacked are the key id and the SHA-256 of the
	// residues, as little-endian words, of a bootstrap output and of the same packed,
	// that knownAnswer computes everywhere.
	knownKey       = "57938bf2cb9770a221f4f0f59b4208d27605bcd2467f4dbb13cfeb33d2875898"
	knownBootstrap = "41466cef149108b9519aec6b2ecbb2937cdf3ae1a5843c18d98103bb2571aa78"
	knownPacked    = "a9089d5ad2a8dad4ab1e34db8e394b621d7a83de82f48011d4fb88c9ebccde4a"

	// needMemory is what a service with one key of the default parameters and a
	// few jobs takes, in bytes.
	needMemory = 512 << 20
)

// Run makes all checks.
func Run(ctx context.Context) []Check {
	checks := []Check{
		{"processor", true, fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), orNone(Features()))},
		memory(),
	}
	backend, err := accelcpu.New()
	if err != nil {
		return append(checks, failed("backend", err))
	}
	defer backend.Close()
	available := accelcpu.Available()
	checks = append(checks, Check{"backend", true, fmt.Sprintf("%s, of %s", backend.Info().Name, strings.Join(available, ", "))})
	for _, name := range available {
		checks = append(checks, result("self-test "+name, selfTest(name), "transform, blind rotation and key switch have the known digests"))
	}
	err = knownAnswer(ctx, backend)
	checks = append(checks, result("known answer", err, "keys, a bootstrap and packing have the known digests"))
	return append(checks, gpus(ctx)...)
}

// gpus says which GPUs there are, or why there are none, which is no failure, and has
// those that are there compute.
func gpus(ctx context.Context) []Check {
	implementation, found, err := cuda.Find()
	if err != nil {
		return []Check{{"gpu", true, "none: " + err.Error()}}
	}
	if len(found) == 0 {
		return []Check{{"gpu", true, "none: the driver has no device"}}
	}
	var checks []Check
	for _, d := range found {
		checks = append(checks, Check{fmt.Sprintf("gpu %d", d.Index), true, fmt.Sprintf("%s, %d GB, compute capability %d.%d, driver for CUDA %d.%d by %s",
			d.Name, d.Memory>>30, d.Capability/10, d.Capability%10, d.Driver/1000, d.Driver%1000/10, implementation)})
	}
	for _, d := range found {
		err := gpu(ctx, d.Index)
		checks = append(checks, result(fmt.Sprintf("self-test gpu %d", d.Index), err, "blind rotation, key switch, keys, a bootstrap and packing have the known digests"))
	}
	return checks
}

// gpu tests one device. What the processor had to compute in its place is a failure.
func gpu(ctx context.Context, index int) error {
	host, err := accelcpu.New()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var failures error
	backend, err := cuda.New(cuda.Options{Host: host, Devices: []int{index}, Report: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		failures = errors.Join(failures, err)
	}})
	if err != nil {
		return errors.Join(err, host.Close())
	}
	err = errors.Join(accel.SelfTest(backend), knownAnswer(ctx, backend), backend.Close())
	return errors.Join(err, failures)
}

// Healthy says that no check failed.
func Healthy(checks []Check) bool {
	for _, c := range checks {
		if !c.OK {
			return false
		}
	}
	return true
}

func failed(name string, err error) Check { return Check{name, false, err.Error()} }

func result(name string, err error, detail string) Check {
	if err != nil {
		return failed(name, err)
	}
	return Check{name, true, detail}
}

func orNone(features []string) string {
	if len(features) == 0 {
		return "no features known"
	}
	return strings.Join(features, " ")
}

// Features lists the processor's features that matter to the backends, in lower
// case.
func Features() (found []string) {
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"aes", cpu.X86.HasAES || cpu.ARM64.HasAES}, {"bmi2", cpu.X86.HasBMI2}, {"adx", cpu.X86.HasADX},
		{"avx2", cpu.X86.HasAVX2}, {"avx512f", cpu.X86.HasAVX512F}, {"avx512dq", cpu.X86.HasAVX512DQ},
		{"avx512vl", cpu.X86.HasAVX512VL}, {"avx512ifma", cpu.X86.HasAVX512IFMA},
		{"asimd", cpu.ARM64.HasASIMD}, {"sha2", cpu.ARM64.HasSHA2}, {"sve", cpu.ARM64.HasSVE},
	} {
		if f.has {
			found = append(found, f.name)
		}
	}
	return found
}

func selfTest(name string) error {
	b, err := accelcpu.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(accel.SelfTest(b), b.Close())
}

// knownAnswer makes keys of the test parameters from a fixed seed, encrypts 5,
// bootstraps it with the table 15 - x, packs the result, and compares the digests of
// key and results, and what they decrypt to.
func knownAnswer(ctx context.Context, backend accel.Backend) error {
	p, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		return err
	}
	keys, err := fhe.GenerateKeys(ctx, p, sha256.Sum256([]byte("tacit doctor keys")), backend, nil)
	if err != nil {
		return err
	}
	evaluator, err := bootstrap.NewEvaluator(keys.Evaluation, backend)
	if err != nil {
		return err
	}
	lut, err := p.NewLUT(0, 15, func(m int64) int64 { return 15 - m })
	if err != nil {
		return err
	}
	in := keys.Secret.Encrypt(sha256.Sum256([]byte("tacit doctor message")), []int64{5}).LWE(p, 0, 15)
	tasks := []fhe.PBS{{In: in, LUT: lut, Out: make([]fhe.LWE, lut.Outputs())}}
	if err := evaluator.Bootstrap(ctx, tasks); err != nil {
		return err
	}
	out := tasks[0].Out[0]
	list, err := evaluator.Pack([]fhe.LWE{out})
	if err != nil {
		return err
	}
	packed := list.LWE(p, 0, p.PackedBound(out.Bound))
	if id := keys.Secret.ID().String(); id != knownKey {
		return fmt.Errorf("the keys have the id %s, want %s", id, knownKey)
	}
	for _, r := range []struct {
		what, known string
		ct          fhe.LWE
	}{{"a bootstrap", knownBootstrap, out}, {"packing", knownPacked, packed}} {
		if got := keys.Secret.Decrypt(r.ct); got != 10 {
			return fmt.Errorf("%s gave %d, want 10", r.what, got)
		}
		h := sha256.New()
		if err := binary.Write(h, binary.LittleEndian, r.ct.Value); err != nil {
			return err
		}
		if digest := hex.EncodeToString(h.Sum(nil)); digest != r.known {
			return fmt.Errorf("%s has the digest %s, want %s", r.what, digest, r.known)
		}
	}
	return nil
}

// memory compares what is free with what a service needs, where the system tells
// it.
func memory() Check {
	available, ok := availableMemory("/proc/meminfo")
	if !ok {
		return Check{"memory", true, fmt.Sprintf("unknown; a service needs about %d MB", needMemory>>20)}
	}
	return Check{"memory", available >= needMemory, fmt.Sprintf("%d MB available; a service needs about %d MB", available>>20, needMemory>>20)}
}

// availableMemory reads MemAvailable of Linux, in bytes.
func availableMemory(path string) (uint64, bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "MemAvailable:" && fields[2] == "kB" {
			kb, err := strconv.ParseUint(fields[1], 10, 53)
			return kb << 10, err == nil
		}
	}
	return 0, false
}
