package coprocessor

import (
	"context"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/upkeep"
)

// collect removes what the policy does not keep, now and then, until ctx ends.
func (s *Server) collect(ctx context.Context) {
	// Several processes share the work: each looks more often than it is its turn.
	tick := time.NewTicker(s.opts.CollectInterval / 4)
	defer tick.Stop()
	for {
		if mine, err := s.turn.Take(ctx, "collect", s.opts.CollectInterval); err != nil && ctx.Err() == nil {
			s.opts.Log.Error("whose turn it is to collect cannot be told", "error", err)
		} else if mine {
			s.collectOnce(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// trimInterval is how often the number of jobs that are kept is looked at.
const trimInterval = time.Second

// trim removes jobs beyond the number that is kept as they come to be too many, until ctx
// ends: by a sixteenth of it, so that there is always something to do at once.
func (s *Server) trim(ctx context.Context) {
	keep := s.opts.Keep.Jobs.Count
	tick := time.NewTicker(trimInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if s.queue.Ended() <= keep+keep/16 {
			continue
		}
		mine, err := s.turn.Take(ctx, "trim", trimInterval)
		if err == nil && mine {
			_, err = s.queue.Trim(ctx, keep)
		}
		if err != nil && ctx.Err() == nil {
			s.opts.Log.Error("jobs beyond the number that is kept could not be removed", "error", err)
		}
	}
}

func (s *Server) collectOnce(ctx context.Context) {
	start := time.Now()
	done, err := upkeep.Collect(ctx, s.queue, s.ciphertexts, s.lists, s.opts.Keep, func(handle [32]byte, m store.Meta) {
		s.opts.Log.DebugContext(ctx, "ciphertext collected", "handle", keyName(handle), "key", keyName(m.KeyID))
	})
	if err != nil {
		if ctx.Err() == nil {
			s.opts.Log.Error("the store could not be collected", "error", err)
		}
		return
	}
	if done.Jobs+done.Removed+done.Orphans+done.Lists+done.Adopted+done.Parts > 0 {
		s.opts.Log.Info("the store was collected", "jobs", done.Jobs, "ciphertexts", done.Removed, "orphans", done.Orphans, "lists", done.Lists, "adopted", done.Adopted, "parts", done.Parts,
			"bytes", done.Bytes, "duration", time.Since(start))
	}
}

// pools are the keys whose jobs are computed, as the queue names them.
func (o *Options) pools() []string {
	var pools []string
	for _, id := range o.ServeKeys {
		pools = append(pools, keyName(id))
	}
	return pools
}
