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
	return retry(ctx, c, func() (*tacitv1.Job, error) {
		return c.service.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: id, Spec: spec})
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

// Jobs calls visit for at most limit jobs, the newest first, until it returns
// false; a limit of 0 means all. The jobs have no node reports.
func (c *Client) Jobs(ctx context.Context, limit int, visit func(*tacitv1.Job) bool) error {
	const page = 100
	token := ""
	for left := limit; ; {
		size := page
		if limit > 0 {
			size = min(page, left)
		}
		resp, err := retry(ctx, c, func() (*tacitv1.ListJobsResponse, error) {
			return c.service.ListJobs(ctx, &tacitv1.ListJobsRequest{PageSize: uint32(size), PageToken: token})
		})
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

// Watch follows a job to its end and returns it. changed, if not nil, is called
// with the whole job and the node that has changed, or nil when it is the job
// that has, at the beginning and after every change; what it is given it must
// not keep. A broken connection is taken up again.
func (c *Client) Watch(ctx context.Context, id string, changed func(job *tacitv1.Job, node *tacitv1.NodeReport)) (*tacitv1.Job, error) {
	if changed == nil {
		changed = func(*tacitv1.Job, *tacitv1.NodeReport) {}
	}
	w := &watch{changed: changed}
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
	changed func(*tacitv1.Job, *tacitv1.NodeReport)
}

func (w *watch) follow(ctx context.Context, c *Client, id string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req := &tacitv1.WatchJobRequest{Id: id}
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
		w.take(event)
	}
}

func (w *watch) take(event *tacitv1.JobEvent) {
	switch e := event.Event.(type) {
	case *tacitv1.JobEvent_Job:
		if w.job == nil || !proto.Equal(w.job, e.Job) {
			w.job = e.Job
			w.changed(w.job, nil)
		}
	case *tacitv1.JobEvent_Node:
		if w.job != nil && int(e.Node.GetNode()) < len(w.job.Nodes) {
			w.job.Nodes[e.Node.GetNode()] = e.Node
			w.changed(w.job, e.Node)
		}
	}
}
