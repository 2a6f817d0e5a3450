package coprocessor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// admin is the server as administrators call it.
type admin struct {
	tacitv1.UnimplementedAdminServer
	s *Server
}

// GetStatus tells what is held back.
func (a admin) GetStatus(ctx context.Context, _ *tacitv1.GetStatusRequest) (*tacitv1.ServiceStatus, error) {
	c, err := a.s.queue.Control(ctx)
	return a.status(c, err)
}

func (a admin) status(c jobs.Control, err error) (*tacitv1.ServiceStatus, error) {
	if err != nil {
		return nil, err
	}
	stats := a.s.queue.Stats()
	out := &tacitv1.ServiceStatus{
		Paused: c.Paused, Draining: a.s.gate.closed(), QuarantinedPrincipals: c.Tenants,
		Jobs: jobCounts(stats.States), RunningHere: uint32(a.s.running.Load()), Backlog: uint64(stats.Backlog), DamagedJobs: uint64(stats.Damaged),
	}
	for _, pool := range c.Pools {
		id, err := hex.DecodeString(pool)
		if err != nil {
			return nil, refuse(codes.DataLoss, "DATA_LOSS", "", "%.80q is not a key that can be quarantined", pool)
		}
		out.QuarantinedKeys = append(out.QuarantinedKeys, id)
	}
	return out, nil
}

func jobCounts(states map[jobs.State]int) (out []*tacitv1.JobCount) {
	for state := jobs.Waiting; state <= jobs.Cancelled; state++ {
		out = append(out, &tacitv1.JobCount{State: jobStates[state], Count: uint64(states[state])})
	}
	return out
}

// Pause starts no jobs any more.
func (a admin) Pause(ctx context.Context, _ *tacitv1.PauseRequest) (*tacitv1.ServiceStatus, error) {
	return a.status(a.s.queue.Hold(ctx, func(c *jobs.Control) { c.Paused = true }))
}

// Resume undoes Pause, and the Drain of this process.
func (a admin) Resume(ctx context.Context, _ *tacitv1.ResumeRequest) (*tacitv1.ServiceStatus, error) {
	c, err := a.s.queue.Hold(ctx, func(c *jobs.Control) { c.Paused = false })
	if err == nil && a.s.serving.Load() {
		a.s.gate.open()
		a.s.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	}
	return a.status(c, err)
}

// Drain has this process start no jobs and take no new ones.
func (a admin) Drain(ctx context.Context, _ *tacitv1.DrainRequest) (*tacitv1.ServiceStatus, error) {
	a.s.gate.close()
	a.s.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	a.s.opts.Log.InfoContext(ctx, "draining", "running", a.s.running.Load())
	return a.GetStatus(ctx, nil)
}

// subject is what a request for a quarantine is about.
type subject interface {
	GetPrincipal() string
	GetKeyId() []byte
}

// hold changes what is quarantined.
func (a admin) hold(ctx context.Context, r subject, change func(list []string, name string) []string) (*tacitv1.ServiceStatus, error) {
	principal, key := r.GetPrincipal(), r.GetKeyId()
	callOf(ctx).note("quarantine", principal+hex.EncodeToString(key))
	switch {
	case len(key) == 0 && principal != access.Local.Name && access.CheckName(principal) != nil:
		return nil, refuse(codes.InvalidArgument, "BAD_PRINCIPAL", "principal", "%.80q is not the name of a principal", principal)
	case len(key) != 0 && len(key) != sha256.Size:
		return nil, refuse(codes.InvalidArgument, "BAD_KEY_ID", "key_id", "%d bytes, want %d", len(key), sha256.Size)
	}
	return a.status(a.s.queue.Hold(ctx, func(c *jobs.Control) {
		if len(key) > 0 {
			c.Pools = change(c.Pools, keyName([32]byte(key)))
		} else {
			c.Tenants = change(c.Tenants, principal)
		}
	}))
}

// Quarantine starts no jobs of a principal or a key any more.
func (a admin) Quarantine(ctx context.Context, req *tacitv1.QuarantineRequest) (*tacitv1.ServiceStatus, error) {
	return a.hold(ctx, req, func(list []string, name string) []string {
		if slices.Contains(list, name) {
			return list
		}
		return append(list, name)
	})
}

// Release undoes Quarantine.
func (a admin) Release(ctx context.Context, req *tacitv1.ReleaseRequest) (*tacitv1.ServiceStatus, error) {
	return a.hold(ctx, req, func(list []string, name string) []string {
		return slices.DeleteFunc(list, func(held string) bool { return held == name })
	})
}

// RetryJob has a failed job tried again.
func (a admin) RetryJob(ctx context.Context, req *tacitv1.RetryJobRequest) (*tacitv1.Job, error) {
	id, err := a.s.jobID(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	if _, err := a.s.queue.Retry(ctx, id); err != nil {
		return nil, err
	}
	job, err := a.s.queue.Get(ctx, id)
	return described(ctx, job, err)
}

// DiscardJob has a damaged job not told of any more.
func (a admin) DiscardJob(ctx context.Context, req *tacitv1.DiscardJobRequest) (*tacitv1.DiscardJobResponse, error) {
	id, err := a.s.jobID(ctx, req.Id)
	if err == nil {
		err = a.s.queue.Discard(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	a.s.opts.Log.WarnContext(ctx, "damaged job discarded", "job", id)
	return &tacitv1.DiscardJobResponse{}, nil
}

// ListDeadLetters lists the jobs that failed in every attempt.
func (a admin) ListDeadLetters(ctx context.Context, req *tacitv1.ListDeadLettersRequest) (*tacitv1.ListJobsResponse, error) {
	return a.s.listJobs(ctx, jobs.ListOptions{
		Limit: int(min(req.PageSize, 1000)), After: req.PageToken, States: []jobs.State{jobs.Failed}, Cause: jobs.Attempts, Newest: true,
	})
}

// ListUsage lists what all principals use of their budgets.
func (a admin) ListUsage(context.Context, *tacitv1.ListUsageRequest) (*tacitv1.ListUsageResponse, error) {
	resp := new(tacitv1.ListUsageResponse)
	for _, name := range a.s.queue.Tenants() {
		resp.Usage = append(resp.Usage, describeUsage(a.s.queue.Usage(name)))
	}
	return resp, nil
}

// GetUsage tells what a principal has used of its budget.
func (s *Server) GetUsage(ctx context.Context, req *tacitv1.GetUsageRequest) (*tacitv1.Usage, error) {
	name := callOf(ctx).principal.Name
	if req.Principal != "" {
		if _, err := s.jobsOf(ctx, req.Principal); err != nil {
			return nil, err
		}
		name = req.Principal
	}
	return describeUsage(s.queue.Usage(name)), nil
}

func describeUsage(u jobs.Usage) *tacitv1.Usage {
	return &tacitv1.Usage{
		Principal: u.Tenant, Weight: u.Policy.Weight, Budget: uint64(u.Policy.Budget), Used: uint64(max(u.Used, 0)),
		StartTime: timestamppb.New(u.From), EndTime: timestamppb.New(u.To), MaxQueued: uint32(u.Policy.MaxQueued), Jobs: jobCounts(u.States),
	}
}

// policy is how the queue treats a principal.
func (s *Server) policy(principal string) jobs.Policy {
	if s.opts.Callers == nil {
		return jobs.Policy{}
	}
	q := s.opts.Callers.Quota(principal)
	return jobs.Policy{Weight: q.Weight, Budget: q.Bootstraps, Period: time.Duration(q.Period), MaxQueued: q.MaxQueued}
}
