package client

import (
	"context"
	"io"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// waitStep is how long one WaitJob waits.
const waitStep = 30 * time.Second

// Ended says that a job will not change any more.
func Ended(s tacitv1.JobState) bool {
	switch s {
	case tacitv1.JobState_JOB_STATE_SUCCEEDED, tacitv1.JobState_JOB_STATE_FAILED, tacitv1.JobState_JOB_STATE_CANCELLED:
		return true
	}
	return false
}

// Submit queues a job. The same id with the same spec is the same job, so that a
// call whose answer was lost is safely made again.
func (c *Client) Submit(ctx context.Context, id string, spec *tacitv1.JobSpec) (*tacitv1.Job, error) {
	return c.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: id, Spec: spec})
}

// SubmitJob is Submit with all that can be said of a job: its priority, its
// deadline and what becomes of it while inputs are missing.
func (c *Client) SubmitJob(ctx context.Context, req *tacitv1.SubmitJobRequest) (*tacitv1.Job, error) {
	return retry(ctx, c, func() (*tacitv1.Job, error) { return c.service.SubmitJob(ctx, req) })
}

// Estimate tells what a job would cost, what its results would be and what it would
// wait for.
func (c *Client) Estimate(ctx context.Context, req *tacitv1.EstimateJobRequest) (*tacitv1.EstimateJobResponse, error) {
	return retry(ctx, c, func() (*tacitv1.EstimateJobResponse, error) { return c.service.EstimateJob(ctx, req) })
}

// Usage tells what a principal, or with the empty name the caller, has used of its
// budget.
func (c *Client) Usage(ctx context.Context, principal string) (*tacitv1.Usage, error) {
	return retry(ctx, c, func() (*tacitv1.Usage, error) {
		return c.service.GetUsage(ctx, &tacitv1.GetUsageRequest{Principal: principal})
	})
}

// Job reads a job.
func (c *Client) Job(ctx context.Context, id string) (*tacitv1.Job, error) {
	return retry(ctx, c, func() (*tacitv1.Job, error) {
		return c.service.GetJob(ctx, &tacitv1.GetJobRequest{Id: id})
	})
}

// JobSpec reads what a job was asked to compute. The answer is the service's word:
// graph.SpecDigest tells whether it is the spec of a digest that is known.
func (c *Client) JobSpec(ctx context.Context, id string) (*tacitv1.JobSpec, error) {
	return retry(ctx, c, func() (*tacitv1.JobSpec, error) {
		return c.service.GetJobSpec(ctx, &tacitv1.GetJobSpecRequest{Id: id})
	})
}

// Cancel cancels a job that has not ended, and answers with the job as it then
// is.
func (c *Client) Cancel(ctx context.Context, id string) (*tacitv1.Job, error) {
	return retry(ctx, c, func() (*tacitv1.Job, error) {
		return c.service.CancelJob(ctx, &tacitv1.CancelJobRequest{Id: id})
	})
}

// Wait returns the job when it has ended.
func (c *Client) Wait(ctx context.Context, id string) (*tacitv1.Job, error) {
	for {
		job, err := retry(ctx, c, func() (*tacitv1.Job, error) {
			return c.service.WaitJob(ctx, &tacitv1.WaitJobRequest{Id: id, Timeout: durationpb.New(waitStep)})
		})
		if err != nil || Ended(job.State) {
			return job, err
		}
	}
}

// JobFilter selects jobs. The zero value selects all that the caller may see.
type JobFilter struct {
	States    []tacitv1.JobState // any when empty
	Principal string             // whose they are; the caller's own, or an administrator's all, when empty
	Limit     int                // at most so many; all when 0
}

// Jobs calls visit for the jobs of a filter, the newest first, until it returns
// false. The jobs have no node reports.
func (c *Client) Jobs(ctx context.Context, f JobFilter, visit func(*tacitv1.Job) bool) error {
	return pages(f.Limit, visit, func(size int, token string) (*tacitv1.ListJobsResponse, error) {
		return retry(ctx, c, func() (*tacitv1.ListJobsResponse, error) {
			return c.service.ListJobs(ctx, &tacitv1.ListJobsRequest{
				PageSize: uint32(size), PageToken: token, States: f.States, Principal: f.Principal, NewestFirst: true,
			})
		})
	})
}

// pages visits the jobs of all pages, at most limit; 0 is no limit.
func pages(limit int, visit func(*tacitv1.Job) bool, next func(size int, token string) (*tacitv1.ListJobsResponse, error)) error {
	const page = 100
	token := ""
	for left := limit; ; {
		size := page
		if limit > 0 {
			size = min(page, left)
		}
		resp, err := next(size, token)
		if err != nil {
			return err
		}
		for _, job := range resp.Jobs {
			if !visit(job) {
				return nil
			}
			left--
		}
		token = resp.NextPageToken
		if token == "" || limit > 0 && left <= 0 {
			return nil
		}
	}
}

// Feed calls visit for every job that has changed after a cursor, and then for
// every job that changes, until it returns an error or ctx ends. It is told the
// cursor to go on from. A broken connection is taken up again where it ended.
func (c *Client) Feed(ctx context.Context, req *tacitv1.WatchJobsRequest, visit func(job *tacitv1.Job, cursor string) error) error {
	req = proto.CloneOf(req)
	for n := 0; ; n++ {
		from := req.Cursor
		own, err := c.feed(ctx, req, visit)
		if own {
			return err
		}
		if req.Cursor != from {
			n = 0 // what arrived in between is an attempt that worked
		}
		if err = c.errorOf(err); n+1 >= c.attempts || !pause(ctx, err, n) {
			return err
		}
	}
}

// feed follows one stream; own says that the error is that of visit.
func (c *Client) feed(ctx context.Context, req *tacitv1.WatchJobsRequest, visit func(job *tacitv1.Job, cursor string) error) (own bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signed, err := c.identity.stream(ctx, tacitv1.Coprocessor_WatchJobs_FullMethodName, req)
	if err != nil {
		return false, err
	}
	stream, err := c.service.WatchJobs(signed, req)
	if err != nil {
		return false, err
	}
	for {
		event, err := stream.Recv()
		if err == io.EOF {
			return false, &MismatchError{"the feed of jobs", "the service ended it"}
		}
		if err != nil {
			return false, err
		}
		if err := visit(event.GetJob(), event.Cursor); err != nil {
			return true, err
		}
		req.Cursor = event.Cursor
	}
}

// Watch follows a job to its end and returns it. changed, if not nil, is called
// with the whole job and the node that has changed, or nil when it is the job
// that has, at the beginning and after every change; what it is given it must
// not keep. A broken connection is taken up again.
//
// WatchFrom goes on after the event of a cursor.
func (c *Client) Watch(ctx context.Context, id string, changed func(job *tacitv1.Job, node *tacitv1.NodeReport)) (*tacitv1.Job, error) {
	if changed == nil {
		changed = func(*tacitv1.Job, *tacitv1.NodeReport) {}
	}
	return c.follow(ctx, id, &watch{changed: func(job *tacitv1.Job, node *tacitv1.NodeReport, _ string) { changed(job, node) }})
}

// WatchFrom is Watch for what happens after a cursor. changed is told the cursor to
// go on from as well.
func (c *Client) WatchFrom(ctx context.Context, id, cursor string, changed func(job *tacitv1.Job, node *tacitv1.NodeReport, cursor string)) (*tacitv1.Job, error) {
	job, err := c.Job(ctx, id) // which the nodes belong to
	if err != nil {
		return nil, err
	}
	w := &watch{changed: changed, cursor: cursor}
	if cursor != "" && !Ended(job.State) {
		w.job = job
	}
	return c.follow(ctx, id, w)
}

// follow watches a job to its end.
func (c *Client) follow(ctx context.Context, id string, w *watch) (*tacitv1.Job, error) {
	for n := 0; ; n++ {
		events := w.events
		err := w.follow(ctx, c, id)
		if err == nil && w.job != nil && Ended(w.job.State) {
			return w.job, nil
		}
		if err == nil {
			err = &MismatchError{"job " + id, "the service stopped reporting before the job had ended"}
		}
		if w.events > events {
			n = 0 // what arrived in between is an attempt that worked
		}
		if err = c.errorOf(err); n+1 >= c.attempts || !pause(ctx, err, n) {
			return nil, err
		}
	}
}

// watch is a job as its events tell it.
type watch struct {
	job     *tacitv1.Job
	events  int
	cursor  string
	changed func(*tacitv1.Job, *tacitv1.NodeReport, string)
}

func (w *watch) follow(ctx context.Context, c *Client, id string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req := &tacitv1.WatchJobRequest{Id: id, Cursor: w.cursor}
	ctx, err := c.identity.stream(ctx, tacitv1.Coprocessor_WatchJob_FullMethodName, req)
	if err != nil {
		return err
	}
	stream, err := c.service.WatchJob(ctx, req)
	if err != nil {
		return err
	}
	for {
		event, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		w.events++
		w.cursor = event.Cursor
		w.take(event)
	}
}

func (w *watch) take(event *tacitv1.JobEvent) {
	switch e := event.Event.(type) {
	case *tacitv1.JobEvent_Job:
		if w.job == nil || !proto.Equal(w.job, e.Job) {
			w.job = e.Job
			w.changed(w.job, nil, w.cursor)
		}
	case *tacitv1.JobEvent_Node:
		if w.job != nil && int(e.Node.GetNode()) < len(w.job.Nodes) {
			w.job.Nodes[e.Node.GetNode()] = e.Node
			w.changed(w.job, e.Node, w.cursor)
		}
	}
}
