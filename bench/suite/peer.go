package suite

import (
	"context"
	"fmt"
	"math"
	"math/big"
	"slices"
	"time"

	"github.com/tacit-fhe/tacit/bench/peers"
	"github.com/tacit-fhe/tacit/bench/workloads"
)

// RunPeer measures what an adapter has programs for, with the same jobs, gate and
// rules as Run, and adds the records to the file of results. Times are the adapter's
// own; its scheme carries the name of its library: openfhe-bgv. Where the options name
// schemes, those alone are measured. The limit of the options holds for each adapter.
func RunPeer(ctx context.Context, o Options, a *peers.Adapter) (*Results, error) {
	results, err := resume(o.Out, o.describe())
	if err != nil {
		return nil, err
	}
	o.defaults()
	r := &runner{Options: o, results: results, began: time.Now()}
	r.results.Skipped = slices.DeleteFunc(r.results.Skipped, func(s Skipped) bool { // those are tried again
		return slices.ContainsFunc(a.Schemes, func(offered peers.SchemeOffered) bool { return s.Scheme == a.Library+"-"+offered.Scheme })
	})
	type work struct {
		scheme string
		job    Job
	}
	var all []work
	for _, s := range a.Schemes {
		if len(o.Schemes) > 0 && !slices.ContainsFunc(o.Schemes, func(own Scheme) bool { return own.Name() == s.Scheme }) {
			continue
		}
		for _, j := range o.Jobs {
			if slices.Contains(s.Workloads, j.Workload.Name) {
				all = append(all, work{s.Scheme, j})
			}
		}
	}
	total := len(all) * len(o.Threads) * len(o.Modes) * o.Rounds
	for r.round = range o.Rounds {
		for _, w := range all {
			for _, threads := range o.Threads {
				if err := r.measurePeer(ctx, a, w.scheme, w.job, threads, total); err != nil {
					return nil, fmt.Errorf("%s on %s-%s: %w", w.job, a.Library, w.scheme, err)
				}
			}
		}
	}
	return results, r.save()
}

// measurePeer makes a round of the records of a job.
func (r *runner) measurePeer(ctx context.Context, a *peers.Adapter, scheme string, j Job, threads, total int) error {
	keys, err := a.Setup(scheme, j.Workload.Name, j.Size, threads)
	if err != nil {
		return err
	}
	name := a.Library + "-" + scheme
	set := Set{
		Scheme: name, Name: keys.Set, Library: a.Library + " " + a.Version, Build: a.Build, Security: keys.Security, Assumption: keys.Assumption,
		Failure: keys.Failure, Description: keys.Description,
		EvaluationBytes: keys.EvaluationBytes, MemoryBytes: keys.MemoryBytes, PublicBytes: keys.PublicBytes,
	}
	if set.Security < minSecurity && !r.AllowInsecure {
		return &SecurityError{set}
	}
	if keys.Threads > 0 {
		threads = keys.Threads
	}
	timed := false
	for _, mode := range r.Modes {
		record := Record{
			Workload: j.Workload.Name, Size: j.Size, Unit: j.Workload.Unit, Scheme: name, Set: set.Name, Mode: mode, Threads: threads, Items: 1,
		}
		if mode == Batch {
			record.Items = keys.Capacity
		}
		if r.Progress != nil {
			r.Progress(r.done, total, record.Key())
		}
		r.done++
		if !r.due(&record) || r.skip(&record) {
			continue
		}
		began := time.Now()
		random := source(uint64(j.Size)<<8 | uint64(r.round))
		round := Round{Began: began.UTC().Truncate(time.Millisecond), Reference: r.reference.time(threads)}
		warm := false // what came before warmed up
		sample := func() (*peers.Answer, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			items := make([]workloads.Values, record.Items)
			for i := range items {
				items[i] = j.Workload.Inputs(random, j.Size)
			}
			answer, got, err := a.Run(items)
			if err != nil {
				return nil, err
			}
			for i, in := range items {
				want := j.Workload.Oracle(j.Size, in)
				if len(got[i]) != len(want) {
					return nil, &WrongError{j, i, fmt.Sprint(len(got[i]), " results"), fmt.Sprint(len(want))}
				}
				for v, x := range want {
					if err := near(j, i, got[i][v], x, j.tolerance(scheme == workloads.CKKS, v)); err != nil {
						return nil, err
					}
				}
			}
			record.Trials += len(items)
			return answer, nil
		}
		for sampling := time.Now(); r.more(len(round.Seconds.Compute), time.Since(sampling)); {
			x, err := sample()
			if err != nil {
				return err
			}
			record.RequestBytes, record.ResponseBytes, record.Bootstraps = x.RequestBytes, x.ResponseBytes, x.Bootstraps
			if s := &round.Seconds; warm {
				s.Encrypt = append(s.Encrypt, x.Seconds.Encrypt)
				s.Compute = append(s.Compute, x.Seconds.Compute)
				s.Decrypt = append(s.Decrypt, x.Seconds.Decrypt)
			} else {
				warm, sampling = true, time.Now()
			}
		}
		round.Reference = append(round.Reference, r.reference.time(threads)...)
		record.Wall = time.Since(began).Seconds()
		if set.Failure < 0 && record.Bootstraps > 0 {
			record.Failure = set.Failure + math.Log2(record.Bootstraps)
		}
		at := slices.IndexFunc(r.results.Sets, func(s Set) bool { return s.Scheme == name && s.Name == set.Name })
		if at < 0 {
			at = len(r.results.Sets)
			r.results.Sets = append(r.results.Sets, set)
		}
		if s := &r.results.Sets[at]; !timed { // a set-up makes keys once, for all modes
			s.KeygenSeconds, timed = append(s.KeygenSeconds, keys.KeygenSeconds), true
		}
		r.results.add(&record, round)
		if err := r.save(); err != nil {
			return err
		}
	}
	return nil
}

// near compares a result with the oracle's, which it may miss by the tolerance.
func near(j Job, item int, got, want *big.Int, tolerance float64) error {
	d := new(big.Int).Sub(got, want)
	if d.Abs(d).Cmp(big.NewInt(int64(tolerance))) > 0 {
		return &WrongError{j, item, got.String(), want.String()}
	}
	return nil
}
