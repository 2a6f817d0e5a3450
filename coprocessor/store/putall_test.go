package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/internal/failpoint"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

// Writers that race for the same handles, in different orders: one stores all of its
// ciphertexts, the others store nothing and are told.
func TestPutAllRace(t *testing.T) {
	ctx := t.Context()
	s := openCiphertexts(t, storetest.Start(t, t.TempDir()))
	const rounds, writers, size = 20, 4, 3
	for round := range byte(rounds) {
		errs := make([]error, writers)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for w := range byte(writers) {
			var cts []store.Ciphertext
			for i := range byte(size) {
				cts = append(cts, store.Ciphertext{Handle: [32]byte{round, (i + w) % size}, Type: w, Record: []byte{w}})
			}
			// One handle that nobody else wants comes first.
			cts = append([]store.Ciphertext{{Handle: [32]byte{round, 100 + w}, Record: []byte{w}}}, cts...)
			wg.Go(func() {
				<-start
				errs[w] = s.PutAll(ctx, cts)
			})
		}
		close(start)
		wg.Wait()
		winner := -1
		for w, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Errorf("round %d: both %d and %d stored the same handles", round, winner, w)
			case err == nil:
				winner = w
			case !errors.As(err, new(*store.ConflictError)):
				t.Errorf("round %d, writer %d: %v", round, w, err)
			}
		}
		for w := range byte(writers) {
			if _, err := s.Stat(ctx, [32]byte{round, 100 + w}); (err == nil) != (int(w) == winner) {
				t.Errorf("round %d: %d won, and of %d there is: %v", round, winner, w, err)
			}
		}
		for i := range byte(size) {
			if m, err := s.Stat(ctx, [32]byte{round, i}); err == nil && int(m.Type) != winner || (err == nil) != (winner >= 0) {
				t.Errorf("round %d: %d won, handle %d is of %d, %v", round, winner, i, m.Type, err)
			}
		}
		if winner < 0 {
			t.Errorf("round %d: nobody won", round)
		}
	}
}

const putAllVariable = "TACIT_TEST_PUT_ALL"

// TestPutAllProcess stores a set of ciphertexts again and again, each under the next
// handles, until it is killed.
func TestPutAllProcess(t *testing.T) {
	dir := os.Getenv(putAllVariable)
	if dir == "" {
		t.Skip("runs in a child process only")
	}
	failpoint.Hook = func(string) { fmt.Println("between") }
	s := openCiphertexts(t, storetest.Start(t, dir))
	for set := 0; ; set++ {
		fmt.Println("set", set)
		if err := s.PutAll(t.Context(), putAllSet(byte(set))); err != nil {
			t.Fatal(err)
		}
	}
}

func putAllSet(set byte) (cts []store.Ciphertext) {
	for i := range byte(8) {
		cts = append(cts, store.Ciphertext{Handle: [32]byte{1, set, i}, Record: pattern(set, 2000+int(i))})
	}
	return cts
}

// A process that is killed while it stores a set leaves all of it or nothing, whole.
func TestPutAllKilled(t *testing.T) {
	kills := 12
	if testing.Short() {
		kills = 3
	}
	for kill := range kills {
		ctx := t.Context()
		dir := t.TempDir()
		cmd := child(t, putAllVariable+"="+dir)
		cmd.Args[1] = "-test.run=^TestPutAllProcess$"
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Somewhere in the third set: before, between or after its records.
		lines, between, sets := bufio.NewScanner(stdout), 0, 0
		for lines.Scan() && (sets < 3 || between < 2*(kill%5)) {
			switch {
			case strings.HasPrefix(lines.Text(), "set "):
				sets++
				between = 0
			case lines.Text() == "between":
				between++
			}
		}
		if sets != 3 {
			t.Fatalf("the process ended: %v", lines.Err())
		}
		time.Sleep(time.Duration(kill) * 200 * time.Microsecond)
		cmd.Process.Kill()
		cmd.Wait()
		n := storetest.Start(t, dir)
		s := openCiphertexts(t, n)
		for set := range byte(4) {
			there := 0
			for _, ct := range putAllSet(set) {
				got, err := s.Get(ctx, ct.Handle)
				switch {
				case err == nil && string(got) == string(ct.Record):
					there++
				case !errors.As(err, new(*store.NotFoundError)):
					t.Errorf("kill %d, set %d: %v", kill, set, err)
				}
			}
			if all := len(putAllSet(set)); there != 0 && there != all || set < 2 && there != all {
				t.Errorf("kill %d: %d of the %d ciphertexts of set %d are there", kill, there, all, set)
			}
			if err := s.PutAll(ctx, putAllSet(set)); err != nil {
				t.Errorf("kill %d: storing set %d again: %v", kill, set, err)
			}
		}
		storetest.Stop(t, n)
	}
}

// A writer that is told to stop before the set is there stores nothing of it.
func TestPutAllStopped(t *testing.T) {
	s := openCiphertexts(t, storetest.Start(t, t.TempDir()))
	ctx, stop := context.WithCancelCause(t.Context())
	lost := errors.New("the lease is lost")
	passed := 0
	failpoint.Hook = func(string) {
		if passed++; passed == len(putAllSet(0)) { // the last record is there
			stop(lost)
		}
	}
	t.Cleanup(func() { failpoint.Hook = nil })
	if err := s.PutAll(ctx, putAllSet(0)); err == nil {
		t.Error("stored after it was told to stop")
	}
	for _, ct := range putAllSet(0) {
		if _, err := s.Stat(t.Context(), ct.Handle); !errors.As(err, new(*store.NotFoundError)) {
			t.Errorf("%x: %v", ct.Handle, err)
		}
	}
}

// Sets that share some ciphertexts, and one that names a handle twice.
func TestPutAllOverlap(t *testing.T) {
	ctx := t.Context()
	s := openCiphertexts(t, storetest.Start(t, t.TempDir()))
	a := store.Ciphertext{Handle: [32]byte{1}, Record: []byte("a")}
	b := store.Ciphertext{Handle: [32]byte{2}, Record: []byte("b")}
	c := store.Ciphertext{Handle: [32]byte{3}, Record: []byte("c")}
	other := store.Ciphertext{Handle: [32]byte{2}, Record: []byte("other")}
	for _, step := range []struct {
		cts  []store.Ciphertext
		fits bool
	}{
		{[]store.Ciphertext{a, a, b}, true},
		{[]store.Ciphertext{b, c, a}, true},
		{[]store.Ciphertext{{Handle: [32]byte{4}}, other}, false},
		{[]store.Ciphertext{{Handle: [32]byte{4}}, {Handle: [32]byte{4}, Record: []byte("twice")}}, false},
	} {
		err := s.PutAll(ctx, step.cts)
		if step.fits && err != nil || !step.fits && !errors.As(err, new(*store.ConflictError)) {
			t.Errorf("%v: %v", step.cts, err)
		}
	}
	if _, err := s.Stat(ctx, [32]byte{4}); !errors.As(err, new(*store.NotFoundError)) {
		t.Errorf("a set that conflicts is stored in part: %v", err)
	}
	if err := s.PutAll(ctx, make([]store.Ciphertext, store.MaxWrites+1)); !errors.As(err, new(*store.SizeError)) {
		t.Errorf("too many: %v", err)
	}
}
