package coprocessor

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/receipt"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// unary turns errors into statuses and panics into INTERNAL.
func (s *Server) unary(ctx context.Context, req any, call *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	start := time.Now()
	defer func() {
		err = s.answer(ctx, call.FullMethod, err, recover())
		s.metrics.Call(call.FullMethod, status.Code(err).String(), time.Since(start))
	}()
	st := stallOf(ctx)
	if !st.enter() {
		return nil, ctx.Err()
	}
	defer st.leave()
	st.moved()
	if err := tooMany(req); err != nil {
		return nil, err
	}
	resp, err = next(ctx, req)
	if st != nil {
		st.waits(st.patience) // for the answer to be taken
	}
	return resp, err
}

// stream does for streams what unary does for calls.
func (s *Server) stream(srv any, stream grpc.ServerStream, call *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	start := time.Now()
	defer func() {
		err = s.answer(stream.Context(), call.FullMethod, err, recover())
		s.metrics.Call(call.FullMethod, status.Code(err).String(), time.Since(start))
	}()
	st := stallOf(stream.Context())
	if !st.enter() {
		return stream.Context().Err()
	}
	defer st.leave()
	return next(srv, newPatientStream(stream))
}

func (s *Server) answer(ctx context.Context, method string, err error, panicked any) error {
	if panicked != nil {
		s.metrics.CallError("PANIC")
		s.opts.Log.ErrorContext(ctx, "a call panicked", "method", method, "panic", panicked, "stack", string(debug.Stack()))
		return refuse(codes.Internal, "PANIC", "", "internal error")
	}
	if err == nil {
		return nil
	}
	var own interface{ GRPCStatus() *status.Status }
	if !errors.As(err, new(*fault)) && errors.As(err, &own) {
		return err // a status of gRPC itself
	}
	if ended := ctx.Err(); ended != nil {
		return status.FromContextError(ended).Err() // nobody hears it
	}
	f := faultOf(err)
	s.metrics.CallError(f.reason)
	s.opts.Log.DebugContext(ctx, "call refused", "method", method, "code", f.code, "reason", f.reason, "error", f.message)
	return f
}

// GetInfo describes the service.
func (s *Server) GetInfo(ctx context.Context, _ *tacitv1.GetInfoRequest) (*tacitv1.GetInfoResponse, error) {
	l := s.opts.Limits
	p := callOf(ctx).principal
	roles := make([]string, len(p.Roles))
	for i, r := range p.Roles {
		roles[i] = string(r)
	}
	all, err := s.serviceKeys(ctx)
	if err != nil {
		return nil, err
	}
	return &tacitv1.GetInfoResponse{
		Version:    s.opts.Version,
		Parameters: s.parameters(),
		Backend:    s.opts.Backend.Info().Name,
		ServiceKey: all[0].PublicKey, ServiceKeys: all, Mock: s.opts.Mock,
		Principal: p.Name,
		Roles:     roles,
		Limits: &tacitv1.Limits{
			MaxNodes: uint32(l.MaxNodes), MaxInputs: uint32(l.MaxInputs), MaxOutputs: uint32(l.MaxOutputs),
			MaxBootstraps: uint64(l.MaxBootstraps), MaxDepth: uint32(l.MaxDepth), MaxSpecSize: uint64(l.MaxSpecSize),
			MaxEvaluationKeySize: uint64(s.opts.MaxKey), MaxUploadSize: MaxUpload, MaxHandles: maxHandles,
		},
	}, nil
}

func (s *Server) parameters() *tacitv1.Parameters {
	fp := s.opts.Params.Fingerprint()
	return &tacitv1.Parameters{Name: s.opts.Params.Name(), Fingerprint: fp[:]}
}

// GetJob reads a job.
func (s *Server) GetJob(ctx context.Context, req *tacitv1.GetJobRequest) (*tacitv1.Job, error) {
	id, err := s.jobID(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	job, err := s.queue.Get(ctx, id)
	return described(ctx, job, err)
}

// GetJobSpec reads the spec of a job.
func (s *Server) GetJobSpec(ctx context.Context, req *tacitv1.GetJobSpecRequest) (*tacitv1.JobSpec, error) {
	id, err := s.jobID(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	job, err := s.queue.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return storedSpec(job)
}

// storedSpec decodes the spec of a job that has it.
func storedSpec(job jobs.Job) (*tacitv1.JobSpec, error) {
	spec := new(tacitv1.JobSpec)
	if err := proto.Unmarshal(job.Spec, spec); err != nil {
		return nil, &store.DataLossError{Bucket: "jobs", Key: job.ID, Detail: err.Error()}
	}
	return spec, nil
}

// CancelJob cancels a job that has not ended.
func (s *Server) CancelJob(ctx context.Context, req *tacitv1.CancelJobRequest) (*tacitv1.Job, error) {
	id, err := s.jobID(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	if _, err := s.queue.Cancel(ctx, id); err != nil {
		return nil, err
	}
	job, err := s.queue.Get(ctx, id)
	return described(ctx, job, err)
}

// WaitJob waits for a job's end, or for the timeout, and answers with the job as
// it then is.
func (s *Server) WaitJob(ctx context.Context, req *tacitv1.WaitJobRequest) (*tacitv1.Job, error) {
	id, err := s.jobID(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	wait := ctx
	if req.Timeout != nil {
		if err := req.Timeout.CheckValid(); err != nil || req.Timeout.AsDuration() < 0 {
			return nil, refuse(codes.InvalidArgument, "BAD_TIMEOUT", "timeout", "not a positive duration")
		}
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, req.Timeout.AsDuration())
		defer cancel()
	}
	job, err := s.queue.Wait(wait, id)
	if err != nil && wait.Err() != nil && ctx.Err() == nil {
		job, err = s.queue.Get(ctx, id)
	}
	return described(ctx, job, err)
}

// WatchJob streams a job's changes to its end.
func (s *Server) WatchJob(req *tacitv1.WatchJobRequest, stream grpc.ServerStreamingServer[tacitv1.JobEvent]) error {
	ctx := stream.Context()
	id, err := s.jobID(ctx, req.Id)
	if err != nil {
		return err
	}
	known, err := parseCursor(req.Cursor)
	if err != nil {
		return err
	}
	sent := make(map[uint32]*tacitv1.NodeReport)
	var state tacitv1.JobState
	for job, err := range s.queue.Watch(ctx, id) {
		if err != nil {
			return err
		}
		if jobStates[job.State] != state {
			seen := job.Revision == known && !job.State.Terminal()
			job, err := s.queue.Get(ctx, id) // which may have moved on
			full, err := described(ctx, job, err)
			if err != nil {
				return err
			}
			if !seen || job.Revision != known {
				event := &tacitv1.JobEvent{Event: &tacitv1.JobEvent_Job{Job: full}, Cursor: cursor(job)}
				if err := stream.Send(event); err != nil {
					return err
				}
			}
			if job.State.Terminal() {
				return nil
			}
			state = full.State
			for _, n := range full.Nodes {
				sent[n.Node] = n
			}
			continue
		}
		progress := new(tacitv1.Job)
		if err := proto.Unmarshal(job.Progress, progress); err != nil {
			return err
		}
		for _, n := range progress.Nodes {
			n.Label = sent[n.Node].GetLabel() // notes have none
			if proto.Equal(sent[n.Node], n) {
				continue
			}
			sent[n.Node] = n
			if err := stream.Send(&tacitv1.JobEvent{Event: &tacitv1.JobEvent_Node{Node: n}, Cursor: cursor(job)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// cursor names a revision of a job to whoever watches.
func cursor(job jobs.Job) string { return strconv.FormatUint(job.Revision, 10) }

func parseCursor(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	rev, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, refuse(codes.InvalidArgument, "BAD_CURSOR", "cursor", "not a cursor of an earlier event")
	}
	return rev, nil
}

// WatchJobs streams the jobs that have changed after a cursor, and what changes.
func (s *Server) WatchJobs(req *tacitv1.WatchJobsRequest, stream grpc.ServerStreamingServer[tacitv1.JobEvent]) error {
	ctx := stream.Context()
	after, err := parseCursor(req.Cursor)
	if err != nil {
		return err
	}
	prefix, err := s.jobsOf(ctx, req.Principal)
	if err != nil {
		return err
	}
	states, err := parseStates(req.States)
	if err != nil {
		return err
	}
	type step struct {
		state    jobs.State
		attempts int
	}
	sent := make(map[string]step) // of jobs that have not ended: renewals of leases and progress are not told
	for job, err := range s.queue.Changes(ctx, after, prefix) {
		if err != nil {
			return err
		}
		now := step{job.State, job.Attempts}
		if sent[job.ID] == now || len(states) > 0 && !slices.Contains(states, job.State) {
			continue
		}
		if sent[job.ID] = now; job.State.Terminal() {
			delete(sent, job.ID)
		}
		described, err := describe(ctx, job, false)
		if err != nil {
			return err
		}
		if err := stream.Send(&tacitv1.JobEvent{Event: &tacitv1.JobEvent_Job{Job: described}, Cursor: cursor(job)}); err != nil {
			return err
		}
	}
	return nil
}

// jobsOf returns what the names of the jobs of a principal begin with. Others than
// the caller of ctx are for administrators, to whom the empty name means all.
func (s *Server) jobsOf(ctx context.Context, principal string) (prefix string, err error) {
	caller := callOf(ctx).principal
	switch {
	case principal == "" && caller.Has(access.Admin):
		return "", nil
	case principal == "":
		principal = caller.Name
	case access.CheckName(principal) != nil && principal != access.Local.Name:
		return "", refuse(codes.InvalidArgument, "BAD_PRINCIPAL", "principal", "%.80q is not the name of a principal", principal)
	case principal != caller.Name && !caller.Has(access.Admin):
		return "", refuse(codes.PermissionDenied, "ROLE_MISSING", "principal", "this takes the role %s", access.Admin)
	}
	return access.QualifiedJob(principal, ""), nil
}

// parseStates reads the states that a caller asks for.
func parseStates(list []tacitv1.JobState) ([]jobs.State, error) {
	var states []jobs.State
	for i, want := range list {
		found := false
		for state, s := range jobStates {
			if s == want {
				states, found = append(states, state), true
			}
		}
		if !found {
			return nil, refuse(codes.InvalidArgument, "BAD_STATE", fmt.Sprintf("states[%d]", i), "there is no state %d", want)
		}
	}
	return states, nil
}

// ListJobs lists jobs in the order of their submission, or the reverse.
func (s *Server) ListJobs(ctx context.Context, req *tacitv1.ListJobsRequest) (*tacitv1.ListJobsResponse, error) {
	prefix, err := s.jobsOf(ctx, req.Principal)
	if err != nil {
		return nil, err
	}
	states, err := parseStates(req.States)
	if err != nil {
		return nil, err
	}
	return s.listJobs(ctx, jobs.ListOptions{
		Limit: int(min(req.PageSize, 1000)), After: req.PageToken, Prefix: prefix, States: states, Newest: req.NewestFirst,
	})
}

func (s *Server) listJobs(ctx context.Context, opts jobs.ListOptions) (*tacitv1.ListJobsResponse, error) {
	list, next, err := s.queue.List(ctx, opts)
	if errors.Is(err, jobs.ErrPageToken) {
		return nil, refuse(codes.InvalidArgument, "BAD_PAGE_TOKEN", "page_token", "not a token of an earlier page")
	}
	if err != nil {
		return nil, err
	}
	resp := &tacitv1.ListJobsResponse{NextPageToken: next}
	for _, job := range list {
		j, err := describe(ctx, job, false)
		if err != nil {
			return nil, err
		}
		resp.Jobs = append(resp.Jobs, j)
	}
	return resp, nil
}

func described(ctx context.Context, job jobs.Job, err error) (*tacitv1.Job, error) {
	if err != nil {
		return nil, err
	}
	return describe(ctx, job, true)
}

var jobStates = map[jobs.State]tacitv1.JobState{
	jobs.Waiting:   tacitv1.JobState_JOB_STATE_WAITING,
	jobs.Queued:    tacitv1.JobState_JOB_STATE_QUEUED,
	jobs.Running:   tacitv1.JobState_JOB_STATE_RUNNING,
	jobs.Done:      tacitv1.JobState_JOB_STATE_SUCCEEDED,
	jobs.Failed:    tacitv1.JobState_JOB_STATE_FAILED,
	jobs.Cancelled: tacitv1.JobState_JOB_STATE_CANCELLED,
}

// describe is a job as clients see it, with its key, the digest of its spec and
// the reports of its nodes if full is set and the job has its spec.
func describe(ctx context.Context, job jobs.Job, full bool) (*tacitv1.Job, error) {
	out := &tacitv1.Job{
		Id: shownJobID(ctx, job.ID), State: jobStates[job.State], Attempts: uint32(job.Attempts),
		CreateTime: timestamp(job.Created), StartTime: timestamp(job.Started), EndTime: timestamp(job.Finished),
		Priority: int32(job.Priority), DeadlineTime: timestamp(job.Deadline), WaitDeadlineTime: timestamp(job.WaitUntil),
		EstimatedBootstraps: uint64(job.Cost), SpentBootstraps: uint64(job.Spent),
	}
	switch {
	case job.State == jobs.Failed && len(job.Error) > 0:
		out.Error = new(tacitv1.JobError)
		if err := proto.Unmarshal(job.Error, out.Error); err != nil {
			return nil, &store.DataLossError{Bucket: "jobs", Key: job.ID, Detail: err.Error()}
		}
		if out.Error.JobId != "" {
			out.Error.JobId = shownJobID(ctx, out.Error.JobId)
		}
	case job.State == jobs.Failed && job.Cause == jobs.Lost:
		out.Error = refuse(codes.DataLoss, "DATA_LOSS", "", "%s", job.Reason).jobError()
	case job.State == jobs.Failed:
		out.Error = &tacitv1.JobError{Code: int32(codes.Aborted), Reason: "ATTEMPTS_EXHAUSTED", Message: job.Reason}
	}
	if !full || job.Spec == nil {
		return out, nil
	}
	spec, err := storedSpec(job)
	if err != nil {
		return nil, err
	}
	out.KeyId = spec.KeyId
	digest := graph.SpecDigest(spec)
	out.SpecDigest = digest[:]
	for i, n := range spec.Nodes {
		out.Nodes = append(out.Nodes, &tacitv1.NodeReport{Node: uint32(i), Label: n.Label, State: tacitv1.NodeState_NODE_STATE_PENDING})
	}
	progress := job.Progress
	if job.State == jobs.Done {
		progress = job.Result
	}
	known := new(tacitv1.Job)
	if err := proto.Unmarshal(progress, known); err != nil {
		return nil, &store.DataLossError{Bucket: "jobs", Key: job.ID, Detail: err.Error()}
	}
	for _, n := range known.Nodes {
		if n.State == tacitv1.NodeState_NODE_STATE_RUNNING && job.State != jobs.Running {
			n = &tacitv1.NodeReport{Node: n.Node, Label: n.Label, State: tacitv1.NodeState_NODE_STATE_PENDING}
		}
		if int(n.Node) < len(out.Nodes) {
			n.Label = out.Nodes[n.Node].Label
			out.Nodes[n.Node] = n
		}
	}
	out.Results = known.Results
	if known.Receipt != nil {
		r, err := receipt.Decode(known.Receipt.Container)
		if err != nil {
			return nil, &store.DataLossError{Bucket: "jobs", Key: job.ID, Detail: err.Error()}
		}
		out.Receipt = describeReceipt(r)
	}
	return out, nil
}

// timestamp is nil for the zero time.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
