// Package fuzztest is what the fuzz targets of the repository are written with. A target gives its seeds, the function
// that is fed, and a bound on the memory that one execution may allocate; it then runs in three ways:
//
//   - under go test, on its seeds and on testdata/fuzz, as every fuzz target does;
//   - under go test -fuzz, guided by coverage, through the fuzzer of the standard library, which is good at finding new
//     inputs and slow, for it runs each in another process;
//   - with FUZZ_EXECUTIONS set, that many executions in this process, some hundred times as fast: the seeds,
//     testdata/fuzz and what the guided fuzzer has kept, and then mutations of them.
//
// In the first and third way what each execution allocates is measured exactly and compared with the bound. An execution
// includes what the target does to check a result.
//
// The third way is deterministic: execution number i of a seed is the same input in every run with the same corpus. What
// fails is written to testdata/fuzz, where go test finds it. One process runs one target on one core, since
// the memory that is allocated is known for a process only; bench/fuzz.sh keeps all cores busy.
//
// The package imports nothing of ours, so that every package's tests may use it.
package fuzztest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The environment of a run in this process.
const (
	// EnvExecutions is how many executions a target has in this process; unset, there is no such run.
	EnvExecutions = "FUZZ_EXECUTIONS"
	// EnvSeconds is how long they may take, whatever is done by then; unset, there is no limit.
	EnvSeconds = "FUZZ_SECONDS"
	// EnvSeed is the seed of the mutations, 1 if it is unset.
	EnvSeed = "FUZZ_SEED"
	// EnvFirst is the number of the first execution, 0 if it is unset.
	EnvFirst = "FUZZ_FIRST"
	// EnvCache is the folder of what the guided fuzzer keeps, "$(go env GOCACHE)/fuzz"; unset, it is not read.
	EnvCache = "FUZZ_CACHE"
)

// Bound is what one execution may allocate, in bytes: so many, and so many for each byte of its input. The bytes of an
// input are those of its []byte and string arguments.
type Bound struct{ Constant, PerByte uint64 }

// of returns the bound for an input of so many bytes.
func (b Bound) of(size int) uint64 { return b.Constant + b.PerByte*uint64(size) }

// Target is a fuzz target with its seeds. Its Add and Fuzz stand for those of testing.F.
type Target struct {
	*testing.F
	bound Bound
	seeds []input
}

// New returns a target without seeds.
func New(f *testing.F, bound Bound) *Target { return &Target{F: f, bound: bound} }

// Add adds a seed, as testing.F's Add does.
func (z *Target) Add(args ...any) {
	z.Helper()
	for _, a := range args {
		if !supported(reflect.TypeOf(a)) {
			z.Fatalf("an argument is a %T", a)
		}
	}
	z.F.Add(args...)
	z.seeds = append(z.seeds, args)
}

// Fuzz runs the target: a func(t *testing.T, ...) of arguments like those of the seeds. It keeps nothing from one
// execution to the next, and runs once more on an input that seems to allocate too much.
func (z *Target) Fuzz(fn any) {
	z.Helper()
	if f := flag.Lookup("test.fuzz"); f != nil && f.Value.String() != "" {
		z.F.Fuzz(fn)
		return
	}
	c, err := z.campaign(fn)
	if err != nil {
		z.Fatal(err)
	}
	var once sync.Once
	z.F.Fuzz(reflect.MakeFunc(reflect.TypeOf(fn), func(args []reflect.Value) []reflect.Value {
		t := args[0].Interface().(*testing.T)
		t.Helper()
		if c.executions == 0 {
			z.single(t, caller(fn), values(args[1:]))
		} else {
			once.Do(func() { c.run(t) })
		}
		return nil
	}).Interface())
}

// single runs one input and measures it.
func (z *Target) single(t *testing.T, call func(*testing.T, input), in input) {
	t.Helper()
	got := measure(func() { call(t, in) })
	// Others may have allocated at the same time, and the first execution may have made what the later ones use.
	for again := 0; again < 3 && got > z.bound.of(in.size()) && !t.Failed(); again++ {
		got = min(got, measure(func() { call(t, in) }))
	}
	if most := z.bound.of(in.size()); got > most && !t.Failed() {
		t.Errorf("%d bytes were allocated for an input of %d, at most %d are allowed", got, in.size(), most)
	}
}

// measure returns how many bytes the process allocated while do ran.
func measure(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// campaign reads the environment and the corpus.
func (z *Target) campaign(fn any) (*campaign, error) {
	c := &campaign{name: z.Name(), bound: z.bound, call: caller(fn), seed: 1, block: maxBlock}
	for name, to := range map[string]*uint64{EnvExecutions: &c.executions, EnvSeconds: &c.seconds, EnvSeed: &c.seed, EnvFirst: &c.first} {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.ParseUint(text, 10, 63)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			*to = n
		}
	}
	if c.executions == 0 {
		return c, nil
	}
	inputs := z.seeds
	types := reflect.TypeOf(fn)
	folders := []string{c.folder()}
	if cache := os.Getenv(EnvCache); cache != "" {
		folders = append(folders, filepath.Join(cache, filepath.FromSlash(packagePath(fn)), c.name))
	}
	for _, folder := range folders {
		more, err := readFolder(folder, types)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, more...)
	}
	if len(inputs) == 0 {
		return nil, fmt.Errorf("%s has no seed", c.name)
	}
	c.corpus = newCorpus(inputs)
	return c, nil
}

// packagePath returns the import path of the package whose test the function is of.
func packagePath(fn any) string {
	name := runtime.FuncForPC(reflect.ValueOf(fn).Pointer()).Name() // "example.org/a/b_test.FuzzX.func1"
	slash := strings.LastIndexByte(name, '/') + 1
	last, _, _ := strings.Cut(name[slash:], ".")
	return name[:slash] + strings.TrimSuffix(last, "_test")
}

// caller returns what calls the target with an input.
func caller(fn any) func(*testing.T, input) {
	switch fn := fn.(type) {
	case func(*testing.T, []byte):
		return func(t *testing.T, in input) { fn(t, in[0].([]byte)) }
	case func(*testing.T, string):
		return func(t *testing.T, in input) { fn(t, in[0].(string)) }
	}
	f := reflect.ValueOf(fn)
	return func(t *testing.T, in input) {
		args := make([]reflect.Value, 1+len(in))
		args[0] = reflect.ValueOf(t)
		for i, a := range in {
			args[i+1] = reflect.ValueOf(a)
		}
		f.Call(args)
	}
}

// values returns the arguments as an input.
func values(args []reflect.Value) input {
	in := make(input, len(args))
	for i, a := range args {
		in[i] = a.Interface()
	}
	return in
}
