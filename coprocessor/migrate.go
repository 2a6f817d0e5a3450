package coprocessor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/keyring"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe"
)

const (
	// migrationPause is the pause before migrations are looked at again that are under
	// way and had nothing to do, or could not do it.
	migrationPause = time.Second
	// migrationPoll is how often a process looks for migrations.
	migrationPoll = 5 * time.Second
	// yieldInterval is how long a migration waits before each ciphertext while there
	// are jobs.
	yieldInterval = time.Second
	yieldPoll     = 50 * time.Millisecond
	// progressPause is the pause between two notes of how far a migration is.
	progressPause = 500 * time.Millisecond
)

// migrations moves ciphertexts from old keys to new ones until ctx ends. What is to be
// done is read off the store, so that it goes on after any end of the process, and several
// processes do nothing twice that counts: what they compute is the same.
func (s *Server) migrations(ctx context.Context) {
	again := true // look also at migrations that ended: a job may have come late
	for ctx.Err() == nil {
		under, err := s.migrateAll(ctx, again)
		again = false
		if err != nil && ctx.Err() == nil {
			s.opts.Log.Error("ciphertexts could not be moved", "error", err)
		}
		if under || err != nil {
			pause(ctx, migrationPause)
			continue
		}
		select {
		case <-s.migrating:
		case <-time.After(migrationPoll): // it was started in another process
		case <-ctx.Done():
		}
	}
}

// migrateAll takes every migration as far as it gets, and reports whether any is still
// under way.
func (s *Server) migrateAll(ctx context.Context, ended bool) (under bool, err error) {
	all, err := s.ring.All(ctx)
	if err != nil {
		return false, err
	}
	for from, k := range all {
		m := k.Migration
		if m == nil || m.State == keyring.Confirmed || m.State == keyring.Done && !ended {
			continue
		}
		done, err := s.migrate(ctx, from, *m)
		if err != nil {
			return true, fmt.Errorf("migration from the key %x: %w", from, err)
		}
		under = under || !done
	}
	return under, nil
}

// migrate moves the ciphertexts that are under an old key now. It is done when nothing is
// left and no job can make more.
func (s *Server) migrate(ctx context.Context, from fhe.KeyID, m keyring.Migration) (done bool, err error) {
	busy, err := s.unfinished(ctx, from) // before what they leave is looked for
	if err != nil {
		return false, err
	}
	var handles [][32]byte
	for h, err := range s.ciphertexts.Under(ctx, from) {
		if err != nil {
			return false, err
		}
		handles = append(handles, h)
	}
	move := &migration{server: s, from: from, to: m.To, failed: make(map[[32]byte]string)}
	if len(handles) > 0 {
		if move.mover, err = s.newMover(ctx, from, &m); err != nil {
			return false, err
		}
		defer move.mover.close()
		// Processes that begin at different places do little twice.
		start := rand.IntN(len(handles))
		if err := move.all(ctx, slices.Concat(handles[start:], handles[:start])); err != nil {
			return false, err
		}
	}
	// Another look finds what an upload that was under way has left.
	done = !busy && len(handles) == len(move.failed)
	return done, move.note(ctx, done)
}

// unfinished reports whether a job of a key has not ended.
func (s *Server) unfinished(ctx context.Context, id fhe.KeyID) (bool, error) {
	for opts := (jobs.ListOptions{Limit: 1000}); ; {
		list, next, err := s.queue.List(ctx, opts)
		if err != nil {
			return false, err
		}
		for _, j := range list {
			if !j.State.Terminal() && j.Pool == keyName(id) {
				return true, nil
			}
		}
		if next == "" {
			return false, nil
		}
		opts.After = next
	}
}

// migration is one pass over the ciphertexts of an old key.
type migration struct {
	server   *Server
	from, to [32]byte
	mover    mover // nil when there is nothing to move

	turn sync.Mutex // held by the worker whose turn it is while there are jobs

	mu      sync.Mutex
	waiting int
	noted   time.Time
	failed  map[[32]byte]string
}

// all moves ciphertexts, on as many cores as bootstrap. One that cannot be moved is left
// and remembered; any other error ends the pass.
func (m *migration) all(ctx context.Context, handles [][32]byte) error {
	m.waiting = len(handles)
	if err := m.note(ctx, false); err != nil {
		return err
	}
	group, pass := errgroup.WithContext(ctx)
	group.SetLimit(m.server.opts.Workers)
	for _, h := range handles {
		if pass.Err() != nil {
			break
		}
		group.Go(func() error {
			m.yield(pass)
			err := m.one(pass, h)
			if err != nil && (pass.Err() != nil || faultOf(err).retryable()) {
				return err
			}
			m.mu.Lock()
			m.waiting--
			if err != nil {
				m.failed[h] = err.Error()
			}
			tell := time.Since(m.noted) > progressPause
			if tell {
				m.noted = time.Now()
			}
			m.mu.Unlock()
			if tell {
				return m.note(pass, false)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// yield lets jobs go first: while there are any, one ciphertext is moved in each
// yieldInterval at most.
func (m *migration) yield(ctx context.Context) {
	m.turn.Lock()
	defer m.turn.Unlock()
	for end := time.Now().Add(yieldInterval); time.Now().Before(end) && ctx.Err() == nil; pause(ctx, yieldPoll) {
		if states := m.server.queue.Stats().States; states[jobs.Queued]+states[jobs.Running] == 0 {
			return
		}
	}
}

// one moves a ciphertext. The same ciphertext and keys give the same bytes everywhere. A panic
// ends the move of this one alone.
func (m *migration) one(ctx context.Context, h [32]byte) (err error) {
	s := m.server
	defer func() {
		if p := recover(); p != nil {
			s.opts.Log.ErrorContext(ctx, "the move of a ciphertext panicked", "handle", graph.Handle(h), "panic", p, "stack", string(debug.Stack()))
			err = refuse(codes.Internal, "PANIC", "", "internal error")
		}
	}()
	old, err := s.ciphertexts.Stat(ctx, h)
	if err != nil || old.KeyID != m.from {
		return err
	}
	record, err := s.ciphertexts.GetUnder(ctx, h, m.from)
	if err != nil {
		return err
	}
	if record, err = m.mover.move(ctx, h, record); err != nil {
		return err
	}
	return s.ciphertexts.Replace(ctx, old, store.Ciphertext{Handle: h, Type: old.Type, KeyID: m.to, Record: record})
}

// note writes down how far the migration is.
func (m *migration) note(ctx context.Context, done bool) error {
	moved, err := m.server.ciphertexts.CountPrevious(ctx, m.from)
	if err != nil {
		return err
	}
	m.mu.Lock()
	waiting := m.waiting
	failures := make([]keyring.Failure, 0, len(m.failed))
	for h, message := range m.failed {
		failures = append(failures, keyring.Failure{Handle: h, Message: message})
	}
	m.mu.Unlock()
	slices.SortFunc(failures, func(a, b keyring.Failure) int { return slices.Compare(a.Handle[:], b.Handle[:]) })
	var ended bool
	_, err = m.server.ring.Change(ctx, m.from, func(k *keyring.Key) error {
		g := k.Migration
		if g == nil || g.State == keyring.Confirmed {
			return errNoMigration
		}
		ended = done && g.State != keyring.Done
		g.Moved, g.Waiting, g.Failed = uint64(moved), uint64(waiting), uint64(len(failures))
		g.Failures = failures[:min(len(failures), keyring.MaxFailures)]
		switch {
		case !done:
			g.State, g.Ended = keyring.Running, time.Time{}
		case ended:
			g.State, g.Ended = keyring.Done, time.Now().UTC()
		}
		return nil
	})
	if errors.Is(err, errNoMigration) {
		return nil
	}
	if ended {
		m.server.opts.Log.InfoContext(ctx, "migration ended", "key", m.from, "moved", moved, "failed", len(failures))
	}
	return err
}

// errNoMigration stops a note about a migration that is over.
var errNoMigration = errors.New("the migration is over")
