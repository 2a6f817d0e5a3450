// Package cpu is the accel.Backend of the machine's own processor: portable Go
// for every architecture, and faster twins where the processor has the
// instructions. All of them return the same bits.
//
// A call computes on the calling goroutine; callers that want several cores
// call from several goroutines, each with its own ciphertexts.
package cpu

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tacit-fhe/tacit/accel"
)

// EnvVar names the environment variable that forces an implementation.
const EnvVar = "TACIT_CPU"

// UnavailableError says that an implementation cannot run here.
type UnavailableError struct {
	Name   string // the implementation asked for
	Reason string
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("cpu: implementation %q: %s", e.Name, e.Reason)
}

// implementation is one entry of the dispatch table. The table of a build is
// ordered from the fastest to the portable one, which is last and always
// available.
type implementation struct {
	name    string
	missing func() []string // CPU features that this machine lacks
	open    func() accel.Backend
}

// New returns the fastest implementation for this machine, or the one that the
// environment variable TACIT_CPU names: portable, avx2 or avx512. It returns an
// *UnavailableError if that one is unknown or cannot run here.
func New() (accel.Backend, error) { return Open(os.Getenv(EnvVar)) }

// Open is New with the name as an argument; "" chooses the fastest.
func Open(name string) (accel.Backend, error) {
	var known []string
	for _, impl := range implementations {
		known = append(known, impl.name)
		if name != "" && name != impl.name {
			continue
		}
		missing := impl.missing()
		if len(missing) == 0 {
			return impl.open(), nil
		}
		if name != "" {
			return nil, &UnavailableError{name, "this processor lacks " + strings.Join(missing, ", ")}
		}
	}
	return nil, &UnavailableError{name, "not in this build, which has " + strings.Join(known, ", ")}
}

// Available lists the implementations that run on this machine, the fastest
// first.
func Available() []string {
	var names []string
	for _, impl := range implementations {
		if len(impl.missing()) == 0 {
			names = append(names, impl.name)
		}
	}
	return names
}

var portableImplementation = implementation{
	name:    "portable",
	missing: func() []string { return nil },
	open:    func() accel.Backend { return portable{} },
}

// portable is the accel.Backend in plain Go.
type portable struct{}

func (portable) Info() accel.Info { return accel.Info{Name: "portable"} }

func (portable) Ring(n int, q uint64) (accel.Ring, error) {
	if err := accel.CheckRing(n, q); err != nil {
		return nil, err
	}
	return newRingGeneric(n, q), nil
}

func (portable) Rotator(spec accel.RotatorSpec, ggsw func(i int, dst []uint64)) (accel.Rotator, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	return newRotatorGeneric(spec, ggsw), nil
}

func (portable) KeySwitcher(spec accel.KeySwitchSpec, rows func(i int, dst []uint32)) (accel.KeySwitcher, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	return newKeySwitcherGeneric(spec, rows), nil
}

func (portable) Close() error { return nil }

// parallel runs work on GOMAXPROCS goroutines. Each gets a function that deals
// out the indices below n one by one, and reports false when none is left.
func parallel(n int, work func(next func() (int, bool))) {
	var dealt atomic.Int64
	next := func() (int, bool) {
		i := int(dealt.Add(1)) - 1
		return i, i < n
	}
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() { work(next) })
	}
	wg.Wait()
}

// checkLen panics if a length differs from want.
func checkLen(what string, want int, got ...int) {
	for _, n := range got {
		if n != want {
			panic(fmt.Sprintf("cpu: %s: slice of length %d, want %d", what, n, want))
		}
	}
}
