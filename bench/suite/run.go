// Package suite runs workloads on schemes and keeps what it measured.
//
// Its rules are in the program, not in advice: sets below 128 bits are refused; every
// item that is timed has random inputs, is decrypted and held against the oracle, and
// nothing is kept of a record with a wrong one; every item is a real encryption; a
// server is made from the bytes of an evaluation key and of requests, so that it
// cannot have a secret key; single items and batches are different records.
//
// A record is measured in rounds: the run goes over all records, and then again. What
// differs between them, new keys and servers in other memory included, differs between
// runs as well; samples one after the other do not show it.
package suite

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/bench/setting"
	"github.com/tacit-fhe/tacit/bench/workloads"
)

// Options of a Run.
type Options struct {
	Schemes []Scheme
	Backend accel.Backend
	// Jobs are the workloads and sizes to run.
	Jobs []Job
	// Threads are the numbers of threads; none means all cores. Of the smallest size of
	// each workload, SmallThreads are measured too on schemes that share an item among threads.
	Threads, SmallThreads []int
	// Modes are Single and Batch; none means both.
	Modes []string
	// Rounds is how often a record is measured; 0 means 2.
	Rounds int
	// Samples is how many samples a record has at least, in all rounds; 0 means 6. A
	// round that takes longer than patience ends with fewer, one at least, and a record
	// with a sample that takes longer than dear has one round of one.
	Samples int
	// Budget is how long a record goes on with more samples, in all rounds, up to 20
	// times as many.
	Budget time.Duration
	// Long measures batches of what takes longer than dear for one item alone too,
	// where one item keeps all threads busy.
	Long bool
	// Limit is how long all records may take, about; 0 means as long as it takes. Sizes
	// then come from small to large over all workloads and schemes, each round has the same share of the time,
	// and what would take more than is left of it, or a tenth of the share, by what smaller
	// sizes took, is skipped, which the results say.
	Limit time.Duration
	// Commit is that of the source, for builds that do not know it.
	Commit string
	// Out is the file of results, which is written after every record and begun
	// from if it is there; empty means none.
	Out string
	// Progress, if not nil, is told of every record before it is measured.
	Progress func(done, total int, what string)
	// AllowInsecure lets tests run sets below the security line.
	AllowInsecure bool
}

const (
	defaultRounds  = 2
	defaultSamples = 6
	mostSamples    = 20 // times Samples

	// slow is how long a sample takes that is kept although it is the first of a round,
	// where all threads share the work: of what takes longer, first samples were found to
	// take as long as the others. What computes on one thread prepares more at first.
	slow = time.Second
	dear = 25 * time.Second
)

// patience is how long a round goes on for the number of samples.
func (o *Options) patience() time.Duration { return max(slow, 5*o.Budget/2) }

// defaults fills in what was left out.
func (o *Options) defaults() {
	if o.Rounds == 0 {
		o.Rounds = defaultRounds
	}
	if o.Samples == 0 {
		o.Samples = defaultSamples
	}
	if len(o.Threads) == 0 {
		o.Threads = []int{runtime.GOMAXPROCS(0)}
	}
	if len(o.Modes) == 0 {
		o.Modes = []string{Single, Batch}
	}
}

// Run measures what is not in the file of results yet, and returns all of it. The
// error may be a *SecurityError, a *WrongError or a *ResumeError; what was measured
// before is in the file.
func Run(ctx context.Context, o Options) (*Results, error) {
	o.defaults()
	results, err := resume(o.Out, o.describe())
	if err != nil {
		return nil, err
	}
	r := &runner{Options: o, results: results, began: time.Now()}
	defer r.forget()
	if err := r.plan(); err != nil {
		return nil, err
	}
	for r.round = range o.Rounds {
		for i, p := range r.plans {
			for _, record := range p.records {
				if err := r.visit(ctx, p, record); err != nil {
					return nil, fmt.Errorf("%s: %w", record.Key(), err)
				}
			}
			if last := i+1 == len(r.plans) || r.plans[i+1].set.Name != p.set.Name; last {
				r.forget() // the keys of one set at a time are in memory
			}
		}
	}
	return results, r.save()
}

// visit measures a record in a round, if it is due.
func (r *runner) visit(ctx context.Context, p plan, record Record) error {
	r.done++
	if !r.due(&record) || r.skip(&record) {
		return nil
	}
	if r.Progress != nil {
		r.Progress(r.done-1, r.total, record.Key())
	}
	if err := r.measure(ctx, p, record); err != nil {
		return err
	}
	return r.save()
}

// runner is one Run.
type runner struct {
	Options
	results   *Results
	plans     []plan
	reference reference
	began     time.Time
	round     int
	done      int
	total     int

	keys    Keys // of the set of the plan that runs
	server  Server
	threads int // of the server
}

// due says that a record wants to be measured in this round.
func (r *runner) due(record *Record) bool {
	have := r.results.Find(record.Key())
	if have == nil {
		return r.round == 0 // or it was skipped
	}
	return len(have.Rounds) <= r.round && !have.dear()
}

// dear says that a sample takes so long that there is one.
func (r *Record) dear() bool { return Summarise(r.Samples().Compute).Median > dear.Seconds() }

// forget drops keys and server, and their memory: keys of CKKS that bootstrap take gigabytes.
func (r *runner) forget() {
	if r.server != nil {
		r.server.Close()
	}
	r.keys, r.server = nil, nil
	debug.FreeOSMemory()
}

// serverOf returns a server of the keys.
func (r *runner) serverOf(keys Keys, threads int) (Server, error) {
	if r.server != nil && r.threads == threads {
		return r.server, nil
	}
	if r.server != nil {
		r.server.Close()
		r.server = nil
	}
	server, err := keys.Server(threads)
	if err != nil {
		return nil, err
	}
	r.server, r.threads = server, threads
	return server, nil
}

// plan is a job on a scheme, with the records that are to be measured.
type plan struct {
	scheme  Scheme
	set     Set
	job     Job
	turn    int // when there is a limit: small sizes first; slow workloads, and other numbers of threads than the first, a size later
	records []Record
}

// source is the source of the inputs that belong to a number.
func source(n uint64) *rand.Rand { return rand.New(rand.NewPCG(n, 0x7461636974)) }

// plan decides what is to be measured, set by set.
func (r *runner) plan() error {
	for _, scheme := range r.Schemes {
		var plans []plan
		for i, threads := range slices.Concat(r.Threads, r.SmallThreads) { // one server after the other
			small := i >= len(r.Threads)
			if small && (!scheme.Parallel() || slices.Contains(r.Threads, threads)) {
				continue
			}
			for _, job := range r.Jobs {
				set, err := scheme.Set(job.Workload, job.Size)
				if absent, ok := err.(*AbsentError); ok {
					if a := (Absent{absent.Workload, absent.Scheme, absent.Reason}); !slices.Contains(r.results.Absent, a) {
						r.results.Absent = append(r.results.Absent, a)
					}
					continue
				}
				if err != nil {
					return err
				}
				if set.Security < minSecurity && !r.AllowInsecure {
					return &SecurityError{set}
				}
				smaller, later := 0, min(i, 1)
				if job.Workload.Slow {
					later++
				}
				for _, other := range r.Jobs {
					if other.Workload == job.Workload && other.Size < job.Size {
						smaller++
					}
				}
				if small && smaller > 0 {
					continue
				}
				p := plan{scheme: scheme, set: set, job: job, turn: smaller + later}
				for _, mode := range r.Modes {
					p.records = append(p.records, Record{
						Workload: job.Workload.Name, Size: job.Size, Unit: job.Workload.Unit,
						Scheme: scheme.Name(), Set: set.Name, Mode: mode, Threads: threads, Items: 1,
					})
				}
				r.total += len(p.records) * r.Rounds
				plans = append(plans, p)
			}
		}
		slices.SortStableFunc(plans, func(a, b plan) int { // sets in the order in which they come up
			first := func(p plan) int {
				return slices.IndexFunc(plans, func(q plan) bool { return q.set.Name == p.set.Name })
			}
			return first(a) - first(b)
		})
		r.plans = append(r.plans, plans...)
	}
	if r.Limit > 0 {
		slices.SortStableFunc(r.plans, func(a, b plan) int { return a.turn - b.turn })
	}
	r.results.Skipped = slices.DeleteFunc(r.results.Skipped, func(s Skipped) bool { // those are tried again
		return slices.ContainsFunc(r.plans, func(p plan) bool {
			return slices.ContainsFunc(p.records, func(x Record) bool { return s == skipped(&x, s.Why, s.Estimate) })
		})
	})
	return nil
}

// skip says that there is no time for a round of a record, and notes it if there was none before.
func (r *runner) skip(record *Record) bool {
	estimate := r.estimate(record)
	if r.time(estimate) {
		return false
	}
	if r.results.Find(record.Key()) == nil {
		r.results.Skipped = append(r.results.Skipped, skipped(record, OverLimit, estimate))
	}
	return true
}

// time says that there is time for so many seconds in this round.
func (r *runner) time(seconds float64) bool {
	share := r.Limit / time.Duration(r.Rounds)
	left := share*time.Duration(r.round+1) - time.Since(r.began)
	return r.Limit == 0 || left > 0 && seconds <= min(left, share/10).Seconds()
}

func skipped(x *Record, why string, estimate float64) Skipped {
	return Skipped{x.Workload, x.Size, x.Scheme, x.Mode, x.Threads, why, estimate}
}

// estimate is about how many seconds a round of a record takes by what smaller sizes
// took, or are estimated to take: a power of the size that the last two sizes show, or
// growth where there is but one. It is 0 where nothing is known.
func (r *runner) estimate(record *Record) float64 {
	if have := r.results.Find(record.Key()); have != nil {
		return have.Wall / float64(len(have.Rounds))
	}
	const growth = 1.5
	type point struct{ size, seconds float64 }
	var known []point
	for _, x := range r.results.Records {
		if skipped(&x, "", 0) == (Skipped{record.Workload, x.Size, record.Scheme, record.Mode, record.Threads, "", 0}) && x.Size < record.Size {
			known = append(known, point{float64(x.Size), x.Wall / float64(len(x.Rounds))})
		}
	}
	for _, s := range r.results.Skipped {
		if s.Workload == record.Workload && s.Scheme == record.Scheme && s.Mode == record.Mode && s.Threads == record.Threads && s.Size < record.Size {
			known = append(known, point{float64(s.Size), s.Estimate})
		}
	}
	slices.SortFunc(known, func(a, b point) int { return int(a.size - b.size) })
	if len(known) == 0 {
		return 0
	}
	last, power := known[len(known)-1], growth
	if len(known) > 1 {
		if before := known[len(known)-2]; before.seconds > 0 && last.seconds > before.seconds {
			power = math.Log(last.seconds/before.seconds) / math.Log(last.size/before.size)
		}
	}
	return last.seconds * math.Pow(float64(record.Size)/last.size, power)
}

func (r *runner) save() error {
	if r.Out == "" {
		return nil
	}
	return r.results.Save(r.Out)
}

// keyGenerations is how often keys are made, to time it, but once where it takes
// longer than slowGeneration.
const (
	keyGenerations = 3
	slowGeneration = 20 * time.Second
)

// keysOf returns the keys of a plan's set. The first time in a file it describes the set.
func (r *runner) keysOf(ctx context.Context, p plan) (Keys, error) {
	if r.keys != nil {
		return r.keys, nil
	}
	set := p.set
	known := slices.ContainsFunc(r.results.Sets, func(s Set) bool { return s.Scheme == set.Scheme && s.Name == set.Name })
	for range keyGenerations {
		r.keys = nil
		start := time.Now()
		keys, err := p.scheme.Keys(ctx, set.Name)
		if err != nil {
			return nil, err
		}
		took := time.Since(start)
		set.KeygenSeconds = append(set.KeygenSeconds, took.Seconds())
		r.keys = keys
		if known {
			return keys, nil
		}
		if took > slowGeneration {
			break
		}
	}
	set.EvaluationBytes, set.MemoryBytes, set.PublicBytes = r.keys.Sizes()
	r.results.Sets = append(r.results.Sets, set)
	return r.keys, nil
}

// measure makes a round of a record.
func (r *runner) measure(ctx context.Context, p plan, record Record) error {
	before := runtime.GOMAXPROCS(record.Threads)
	defer runtime.GOMAXPROCS(before)
	keys, err := r.keysOf(ctx, p)
	if err != nil {
		return err
	}
	server, err := r.serverOf(keys, record.Threads)
	if err != nil {
		return err
	}
	began := time.Now()
	s := &session{job: p.job, keys: keys, server: server, random: source(uint64(p.job.Size)<<8 | uint64(r.round))}
	items, copies := 1, 1
	if record.Mode == Batch {
		one, err := r.alone(ctx, s, &record)
		if err != nil {
			return err
		}
		if p.scheme.Parallel() && one.seconds > dear.Seconds() && !r.Long {
			r.results.Skipped = append(r.results.Skipped, skipped(&record, LongBatch, one.seconds))
			return nil
		}
		items = server.Capacity(p.job, one.spent)
		if !p.scheme.Parallel() {
			copies = record.Threads
		}
	}

	round := Round{Began: time.Now().UTC().Truncate(time.Millisecond), Reference: r.reference.time(record.Threads)}
	setting.ResetPeak()
	start, sampling := server.Spent(), time.Now()
	if err := s.sample(ctx, items, copies); err != nil {
		return err
	}
	if !p.scheme.Parallel() || time.Since(sampling) < slow { // it warmed up
		start, sampling = server.Spent(), time.Now()
		s.stages, s.quality = Stages{}, Quality{}
	}
	for r.more(len(s.stages.Compute), time.Since(sampling)) {
		if err := s.sample(ctx, items, copies); err != nil {
			return err
		}
	}
	end := server.Spent()
	record.PeakBytes = setting.PeakMemory()
	round.Seconds, round.Reference = s.stages, append(round.Reference, r.reference.time(record.Threads)...)

	record.Items, record.Trials = items*copies, s.trials
	total := float64(record.Items * len(s.stages.Compute))
	record.Bootstraps = float64(end.Bootstraps-start.Bootstraps) / total
	record.KeySwitches = float64(end.KeySwitches-start.KeySwitches) / total
	record.RequestBytes, record.ResponseBytes, record.PlaintextBytes = s.request, s.response, s.plaintext
	record.NoisePredicted, record.NoiseMeasured, record.Precision = s.quality.Predicted, s.quality.Measured, s.quality.Precision
	if model := p.job.Workload.Model; model != nil {
		accuracy := model(p.job.Size)
		record.Accuracy = &accuracy
	}
	if p.set.Failure < 0 && record.Bootstraps > 0 {
		record.Failure = p.set.Failure + math.Log2(record.Bootstraps)
	}
	record.Wall = time.Since(began).Seconds()
	r.results.add(&record, round)
	return nil
}

// single is what one item takes.
type single struct {
	spent   Spent
	seconds float64
}

// alone returns what one item of a batch takes alone, by the record of it or by running
// it.
func (r *runner) alone(ctx context.Context, s *session, record *Record) (single, error) {
	like := *record
	like.Mode = Single
	if x := r.results.Find(like.Key()); x != nil {
		return single{Spent{int64(math.Round(x.Bootstraps)), int64(math.Round(x.KeySwitches))}, x.PerItem().Median}, nil
	}
	start, began := s.server.Spent(), time.Now()
	if err := s.sample(ctx, 1, 1); err != nil {
		return single{}, err
	}
	end, took := s.server.Spent(), time.Since(began)
	s.stages, s.quality = Stages{}, Quality{}
	return single{Spent{end.Bootstraps - start.Bootstraps, end.KeySwitches - start.KeySwitches}, took.Seconds()}, nil
}

// add adds a round to the record with the key of x, which has what was measured in it.
func (r *Results) add(x *Record, round Round) {
	have := r.Find(x.Key())
	if have == nil {
		x.Rounds = []Round{round}
		r.Records = append(r.Records, *x)
		return
	}
	have.Rounds = append(have.Rounds, round)
	have.PeakBytes = max(have.PeakBytes, x.PeakBytes)
	q := worse(Quality{have.NoisePredicted, have.NoiseMeasured, have.Precision}, Quality{x.NoisePredicted, x.NoiseMeasured, x.Precision})
	have.NoisePredicted, have.NoiseMeasured, have.Precision = q.Predicted, q.Measured, q.Precision
	have.Trials += x.Trials
	have.Wall += x.Wall
}

// more says whether a round wants more samples than the n that took so long.
func (o *Options) more(n int, took time.Duration) bool {
	each := (o.Samples + o.Rounds - 1) / o.Rounds
	switch {
	case n == 0:
		return true
	case n >= mostSamples*each || took >= o.patience():
		return false
	}
	return n < each || took < o.Budget/time.Duration(o.Rounds)
}

// session is a client and a server at work on one job.
type session struct {
	job    Job
	keys   Keys
	server Server
	random *rand.Rand

	stages            Stages
	quality           Quality
	trials            int
	request, response int64
	plaintext         float64
}

// exchange is the way of one request.
type exchange struct {
	want     []workloads.Values
	request  []byte
	loaded   any
	computed any
	response []byte
	quality  Quality
}

// sample runs copies requests of so many items each at the same time, and keeps the
// time of each stage.
func (s *session) sample(ctx context.Context, items, copies int) error {
	all := make([]exchange, copies)
	s.request, s.response, s.plaintext = 0, 0, 0
	// Encryption draws from one source of inputs and is timed for all copies.
	var inputs [][]workloads.Values
	for i := range all {
		var in []workloads.Values
		for range items {
			x := s.job.Workload.Inputs(s.random, s.job.Size)
			in = append(in, x)
			all[i].want = append(all[i].want, s.job.Workload.Oracle(s.job.Size, x))
		}
		inputs = append(inputs, in)
	}
	plaintexts := make([]float64, copies)
	for _, stage := range []struct {
		times *[]float64
		run   func(i int, x *exchange) error
	}{
		{&s.stages.Encrypt, func(i int, x *exchange) (err error) {
			x.request, plaintexts[i], err = s.keys.Encrypt(s.job, inputs[i])
			return err
		}},
		{&s.stages.Load, func(_ int, x *exchange) (err error) {
			x.loaded, err = s.server.Load(s.job, x.request, items)
			return err
		}},
		{&s.stages.Compute, func(_ int, x *exchange) (err error) {
			x.computed, err = s.server.Compute(ctx, s.job, x.loaded)
			return err
		}},
		{&s.stages.Store, func(_ int, x *exchange) (err error) {
			x.response, err = s.server.Store(s.job, x.computed)
			return err
		}},
		{&s.stages.Decrypt, func(_ int, x *exchange) (err error) {
			x.quality, err = s.keys.Check(s.job, x.response, x.want)
			return err
		}},
	} {
		start := time.Now()
		if err := together(all, stage.run); err != nil {
			return err
		}
		*stage.times = append(*stage.times, time.Since(start).Seconds())
	}
	for i, x := range all {
		s.request += int64(len(x.request))
		s.response += int64(len(x.response))
		s.plaintext += plaintexts[i]
		s.trials += items
		s.quality = worse(s.quality, x.quality)
	}
	return nil
}

// worse is the worse of two qualities, of which the first may be none yet.
func worse(a, b Quality) Quality {
	if a == (Quality{}) {
		return b
	}
	return Quality{max(a.Predicted, b.Predicted), max(a.Measured, b.Measured), min(a.Precision, b.Precision)}
}

// together runs a stage of all exchanges at the same time.
func together(all []exchange, run func(i int, x *exchange) error) error {
	failed := make([]error, len(all))
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { failed[i] = run(i, &all[i]) })
	}
	wg.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}
