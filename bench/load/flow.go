package load

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Flow is what callers see who wait for each of their jobs before they submit the next.
type Flow struct {
	Callers       int     `json:"callers"`
	Seconds       float64 `json:"seconds"` // from the first submission to the end of the last job
	JobsPerSecond float64 `json:"jobs_per_second"`
	Turnaround    Times   `json:"turnaround_seconds"`    // from the submission of a job to the word that it has ended
	CPUPerJob     float64 `json:"cpu_seconds,omitempty"` // of a job, of the callers too; absent where it cannot be told
	Memory
}

// task is a job to be submitted.
type task struct {
	user int
	id   string
	spec *tacitv1.JobSpec
}

// flow has callers submit jobs and wait for them, as many in all as a round has.
func (b *bench) flow(ctx context.Context) (f Flow, err error) {
	tasks := make(chan task)
	turnarounds := make([]float64, b.Jobs)
	var done atomic.Int64
	if b.Computing != nil {
		b.Computing(true)
		defer b.Computing(false)
	}
	begin, before := time.Now(), cpuSeconds()
	g, working := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(tasks)
		for range b.Jobs {
			user, id := b.serial%b.Principals, fmt.Sprint("job-", b.serial)
			select {
			case tasks <- task{user, id, b.spec(user)}:
			case <-working.Done():
				return working.Err()
			}
		}
		return nil
	})
	for range b.Callers {
		g.Go(func() error {
			for t := range tasks {
				submitted := time.Now()
				user := b.users[t.user]
				if _, err := user.Submit(working, t.id, t.spec); err != nil {
					return err
				}
				job, err := user.Wait(working, t.id)
				if err != nil {
					return err
				}
				if job.State != tacitv1.JobState_JOB_STATE_SUCCEEDED {
					return fmt.Errorf("load: job %s: %v", job.Id, job.Error)
				}
				n := done.Add(1)
				turnarounds[n-1] = time.Since(submitted).Seconds()
				if b.Progress != nil {
					b.Progress(int(n), b.Jobs)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return f, err
	}
	f = Flow{Callers: b.Callers, Seconds: time.Since(begin).Seconds(), Turnaround: quantiles(turnarounds)}
	f.JobsPerSecond = float64(b.Jobs) / f.Seconds
	f.CPUPerJob = (cpuSeconds() - before) / float64(b.Jobs)
	f.Memory, err = b.settle(ctx)
	return f, err
}
