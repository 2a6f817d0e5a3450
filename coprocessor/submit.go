package coprocessor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

const (
	// maxPriority bounds priorities in both directions.
	maxPriority = 100
	// defaultInputTimeout is how long a job waits for inputs unless it says
	// otherwise.
	defaultInputTimeout = time.Hour
	// maxRootMessage bounds what a job says of the one that it failed with, in bytes.
	maxRootMessage = 1 << 10
)

// ticket is what a job keeps of its submission for the service.
type ticket struct {
	// Admin says that an administrator submitted the job, who may compute on
	// everything.
	Admin bool `json:"admin,omitempty"`
}

// submitter is whom the rights of a job are those of.
func submitter(job jobs.Job) (access.Principal, error) {
	var t ticket
	if len(job.Note) > 0 {
		if err := json.Unmarshal(job.Note, &t); err != nil {
			return access.Principal{}, &store.DataLossError{Bucket: "jobs", Key: job.ID, Detail: err.Error()}
		}
	}
	owner, _ := access.SplitJob(job.ID)
	p := access.Principal{Name: owner}
	if t.Admin {
		p.Roles = []access.Role{access.Admin}
	}
	return p, nil
}

// draft is a spec that a caller has asked about.
type draft struct {
	spec  *tacitv1.JobSpec // with a strategy
	graph *graph.Graph
	// records are those of the inputs that are there.
	records map[graph.Handle][]byte
	// missing are the inputs that are not there, in the order of the spec.
	missing []*tacitv1.PendingCiphertext
}

// draftAs validates a spec for the caller of ctx, who may compute on every input that
// is there. Inputs that are not there have the types that jobs of the caller or
// the caller itself give them; expected is nil where none may be missing. Where
// the type of one is not known, the draft has no graph and the error is
// graph.Validate's; a draft is returned all the same.
func (s *Server) draftAs(ctx context.Context, spec *tacitv1.JobSpec, expected map[graph.Handle]tacitv1.Type) (*draft, error) {
	d := &draft{spec: spec}
	done, err := s.estimating(ctx)
	if err != nil {
		return d, err
	}
	defer done()
	e := newEstimator(s.integers, spec)
	resolve := func(ctx context.Context, h graph.Handle) (graph.Ciphertext, error) {
		made, toCome, err := s.toCome(ctx, h)
		if err != nil {
			return graph.Ciphertext{}, err
		}
		if !toCome {
			err = s.may(ctx, access.Ciphertext(h), access.Compute)
			if err == nil {
				var ct graph.Ciphertext
				if ct, err = s.resolve(ctx, e, spec, h); err == nil {
					return ct, nil
				}
			}
			if !errors.As(err, new(*store.NotFoundError)) && !errors.Is(err, graph.ErrUnknownHandle) {
				return graph.Ciphertext{}, err
			}
		}
		if expected == nil {
			return graph.Ciphertext{}, graph.ErrUnknownHandle
		}
		t, known := expected[h]
		switch {
		case known:
		case toCome:
			t = made
		default:
			return graph.Ciphertext{}, fmt.Errorf("%w, and no job of yours is to make it: give its type to wait for it", graph.ErrUnknownHandle)
		}
		d.missing = append(d.missing, &tacitv1.PendingCiphertext{Handle: h[:], Type: t.Enum()})
		return graph.Ciphertext{Type: t, KeyID: [32]byte(spec.GetKeyId())}, nil // its key shows when it is there
	}
	d.graph, err = graph.Validate(ctx, spec, resolve, e.cost, s.opts.Limits)
	d.records = e.records
	if err == nil {
		_, err = s.footprintOf(d.graph, d.records)
	}
	return d, err
}

// toCome reports whether a job of the caller of ctx is to make what a handle names, and of
// which type. What lies there of which the caller is no owner is not that: whoever is
// first names it.
func (s *Server) toCome(ctx context.Context, h graph.Handle) (tacitv1.Type, bool, error) {
	name := callOf(ctx).principal.Name
	tag, made, err := s.queue.Makes(ctx, name, h)
	if err != nil || !made {
		return 0, false, err
	}
	owns, err := s.lists.Owns(ctx, name, access.Ciphertext(h))
	if err != nil || !owns {
		return tacitv1.Type(tag), err == nil, err
	}
	there, err := s.ciphertexts.Exists(ctx, h)
	return tacitv1.Type(tag), !there, err
}

func parseExpected(list []*tacitv1.ExpectedInput, place string) (map[graph.Handle]tacitv1.Type, error) {
	expected := make(map[graph.Handle]tacitv1.Type, len(list))
	for i, e := range list {
		at := fmt.Sprintf("%s[%d]", place, i)
		if len(e.GetHandle()) != len(graph.Handle{}) {
			return nil, refuse(codes.InvalidArgument, "BAD_HANDLE", at+".handle", "%d bytes, want %d", len(e.GetHandle()), len(graph.Handle{}))
		}
		if _, ok := graph.Width(e.GetType()); e.Type == nil || !ok {
			return nil, refuse(codes.InvalidArgument, "UNKNOWN_TYPE", at+".type", "absent, or no type")
		}
		expected[graph.Handle(e.Handle)] = e.GetType()
	}
	return expected, nil
}

// SubmitJob validates a spec and queues it. A job that is there already is answered
// with as it is, also where a new one would be refused.
func (s *Server) SubmitJob(ctx context.Context, req *tacitv1.SubmitJobRequest) (*tacitv1.Job, error) {
	spec, err := s.called(ctx, req.Spec, req.Program)
	if err != nil {
		return nil, err
	}
	var job jobs.Job
	var created bool
	sub, err := s.submission(ctx, req, spec)
	if err == nil {
		job, created, err = s.queue.Submit(ctx, sub)
	}
	if err != nil {
		if job, same := s.submitted(ctx, req.Id, spec); same {
			return describe(ctx, job, true)
		}
		return nil, err
	}
	if !created {
		job, err = s.queue.Get(ctx, sub.ID) // it may have ended
		return described(ctx, job, err)
	}
	s.opts.Log.InfoContext(ctx, "job submitted", "job", job.ID, "state", job.State.String(), "nodes", len(spec.Nodes), "bootstraps", sub.Cost, "missing", len(sub.Needs))
	return describe(ctx, job, true)
}

// submitted returns the job of the caller of ctx that has an id, if it has that
// spec. Where the spec leaves its strategy to the service, it is the one that was
// chosen.
func (s *Server) submitted(ctx context.Context, id string, spec *tacitv1.JobSpec) (jobs.Job, bool) {
	job, err := s.queue.Get(ctx, access.QualifiedJob(callOf(ctx).principal.Name, id))
	if err != nil {
		return jobs.Job{}, false
	}
	stored, err := storedSpec(job)
	if err != nil {
		return jobs.Job{}, false
	}
	if spec.GetStrategy() == tacitv1.Strategy_STRATEGY_AUTO {
		spec = withStrategy(spec, stored.Strategy)
	}
	return job, graph.SpecDigest(stored) == graph.SpecDigest(spec)
}

// submission validates a request for the caller of ctx.
func (s *Server) submission(ctx context.Context, req *tacitv1.SubmitJobRequest, spec *tacitv1.JobSpec) (jobs.Submission, error) {
	none := jobs.Submission{}
	if s.gate.closed() {
		return none, refuse(codes.Unavailable, "DRAINING", "", "this process takes no new jobs")
	}
	sub, err := wishes(req)
	if err != nil {
		return none, err
	}
	var expected map[graph.Handle]tacitv1.Type
	if !req.MissingInputs.GetRefuse() {
		if expected, err = parseExpected(req.MissingInputs.GetExpected(), "missing_inputs.expected"); err != nil {
			return none, err
		}
	}
	d, err := s.draft(ctx, spec, expected)
	if err != nil {
		return none, err
	}
	g := d.graph
	c := callOf(ctx)
	c.note("key", keyName(g.KeyID()))
	if err := s.usable(ctx, g.KeyID()); err != nil {
		return none, faultOf(err).at("key_id")
	}
	if sub.ID, err = s.jobID(ctx, req.Id); err != nil {
		return none, err
	}
	if owner, _ := access.SplitJob(sub.ID); owner != c.principal.Name {
		return none, refuse(codes.InvalidArgument, "BAD_JOB_ID", "id", "%q is the name of another's job", req.Id)
	}
	if sub.Spec, err = (proto.MarshalOptions{Deterministic: true}).Marshal(d.spec); err != nil {
		return none, refuse(codes.InvalidArgument, "MALFORMED", "spec", "%v", err)
	}
	if sub.Note, err = json.Marshal(ticket{Admin: c.principal.Has(access.Admin)}); err != nil {
		return none, err
	}
	// Two specs that mean the same are the same, however they are encoded.
	sub.Digest, sub.Pool, sub.Cost = g.Digest(), keyName(g.KeyID()), int64(newPlan(g, nil).cost().Bootstraps)
	if len(d.missing) > jobs.MaxNames {
		return none, refuse(codes.InvalidArgument, "LIMIT", "spec", "%d inputs are missing, a job waits for %d at most", len(d.missing), jobs.MaxNames)
	}
	for _, m := range d.missing {
		sub.Needs = append(sub.Needs, jobs.Name(m.Handle))
	}
	if s.opts.Role == RoleAll {
		s.drafts.put(sub.Spec, d)
	}
	for _, o := range g.Outputs() {
		sub.Makes = append(sub.Makes, jobs.Made{Name: o.Handle, Tag: byte(outputType(g, o))})
	}
	return sub, nil
}

// wishes are what a request says of a job besides its spec.
func wishes(req *tacitv1.SubmitJobRequest) (s jobs.Submission, err error) {
	if req.Priority < -maxPriority || req.Priority > maxPriority {
		return s, refuse(codes.InvalidArgument, "BAD_PRIORITY", "priority", "%d is not within %d and %d", req.Priority, -maxPriority, maxPriority)
	}
	s.Priority = int(req.Priority)
	if s.TimeLimit, err = positive(req.Deadline, 0, "deadline"); err != nil {
		return s, err
	}
	s.WaitLimit, err = positive(req.MissingInputs.GetTimeout(), defaultInputTimeout, "missing_inputs.timeout")
	return s, err
}

// positive is a duration, or, where there is none, the default.
func positive(d *durationpb.Duration, byDefault time.Duration, place string) (time.Duration, error) {
	if d == nil {
		return byDefault, nil
	}
	if d.CheckValid() != nil || d.AsDuration() <= 0 {
		return 0, refuse(codes.InvalidArgument, "BAD_TIMEOUT", place, "not a positive duration")
	}
	return d.AsDuration(), nil
}

// EstimateJob tells what a spec would cost.
func (s *Server) EstimateJob(ctx context.Context, req *tacitv1.EstimateJobRequest) (*tacitv1.EstimateJobResponse, error) {
	expected, err := parseExpected(req.Expected, "expected")
	if err != nil {
		return nil, err
	}
	spec, err := s.called(ctx, req.Spec, req.Program)
	if err != nil {
		return nil, err
	}
	if id := spec.GetKeyId(); len(id) == len(fhe.KeyID{}) {
		if err := s.exists(ctx, access.EvaluationKey([32]byte(id)), access.Compute); err != nil {
			return nil, faultOf(err).at("key_id")
		}
	}
	d, err := s.draft(ctx, spec, expected)
	resp := &tacitv1.EstimateJobResponse{Missing: d.missing, Strategy: d.spec.GetStrategy()}
	if refused := (*graph.Error)(nil); errors.As(err, &refused) && refused.Reason == graph.UnknownHandle {
		// Without its type nothing more can be told but what else is missing.
		resp.Missing, err = s.missing(ctx, spec, expected)
		digest := graph.SpecDigest(spec)
		resp.SpecDigest = digest[:]
		return resp, err
	}
	if err != nil {
		return nil, err
	}
	g := d.graph
	digest, key := g.Digest(), g.KeyID()
	p := newPlan(g, nil)
	cost := p.cost()
	resp.SpecDigest, resp.Bootstraps, resp.Depth = digest[:], uint64(cost.Bootstraps), uint64(cost.Depth)
	for i := range g.Len() {
		n := g.Node(i)
		e := &tacitv1.NodeEstimate{Type: n.Type.Enum(), Needed: n.Needed}
		if same := p.same[i]; n.Needed && same != i {
			at := uint32(same)
			e.SameAs = &at
		} else {
			e.Bootstraps, e.Depth = uint64(n.Cost.Bootstraps), uint64(n.Cost.Depth)
		}
		resp.Nodes = append(resp.Nodes, e)
	}
	for _, o := range g.Outputs() {
		resp.Outputs = append(resp.Outputs, &tacitv1.CiphertextInfo{Handle: o.Handle[:], Type: outputType(g, o).Enum(), KeyId: key[:]})
	}
	return resp, nil
}

// missing lists all inputs of a spec that are not there for the caller of ctx, once
// each. Handles are of the right size where graph.Validate has come to look one up.
func (s *Server) missing(ctx context.Context, spec *tacitv1.JobSpec, expected map[graph.Handle]tacitv1.Type) ([]*tacitv1.PendingCiphertext, error) {
	seen := make(map[graph.Handle]bool)
	for _, n := range spec.GetNodes() {
		if r := n.GetResult(); len(r) == len(graph.Handle{}) {
			seen[graph.Handle(r)] = true
		}
	}
	var list []*tacitv1.PendingCiphertext
	for _, n := range spec.GetNodes() {
		for _, in := range n.GetInputs() {
			h := in.GetHandle()
			if len(h) != len(graph.Handle{}) || seen[graph.Handle(h)] {
				continue
			}
			seen[graph.Handle(h)] = true
			err := s.exists(ctx, access.Ciphertext([32]byte(h)), access.Compute)
			if err == nil {
				continue
			}
			if !errors.As(err, new(*store.NotFoundError)) {
				return nil, err
			}
			p := &tacitv1.PendingCiphertext{Handle: h}
			if t, ok := expected[graph.Handle(h)]; ok {
				p.Type = t.Enum()
			} else if tag, made, err := s.queue.Makes(ctx, callOf(ctx).principal.Name, [32]byte(h)); err != nil {
				return nil, err
			} else if made {
				p.Type = tacitv1.Type(tag).Enum()
			}
			list = append(list, p)
		}
	}
	return list, nil
}

// inputReady reports whether an input that a job waits for is stored, and the
// submitter of the job may compute on it and, where it is one that a job of the same
// submitter is to make, owns it: names are given by whoever is first, and rights too.
func (s *Server) inputReady(ctx context.Context, job jobs.Job, handle jobs.Name, own bool) (bool, error) {
	p, err := submitter(job)
	if err != nil {
		return false, err
	}
	if own {
		if owns, err := s.lists.Owns(ctx, p.Name, access.Ciphertext(handle)); err != nil || !owns {
			return false, err
		}
	}
	err = s.lists.Check(ctx, p, access.Ciphertext(handle), access.Compute)
	if err == nil {
		_, err = s.ciphertexts.Stat(ctx, handle)
	}
	if errors.As(err, new(*access.DeniedError)) || errors.As(err, new(*store.NotFoundError)) {
		return false, nil
	}
	return err == nil, err
}

// explain is the error of a job that the queue makes fail, from its encoded spec.
func explain(encoded []byte, f jobs.Failure) []byte {
	spec := new(tacitv1.JobSpec)
	place := ""
	if proto.Unmarshal(encoded, spec) == nil {
		place = inputPlace(spec, f.Name[:])
	}
	handle := graph.Handle(f.Name)
	switch f.Cause {
	case jobs.Missing:
		return refuse(codes.DeadlineExceeded, "INPUT_TIMEOUT", place, "%s was not there in time", handle).note()
	case jobs.Cyclic:
		return refuse(codes.FailedPrecondition, "JOB_CYCLE", place, "%s is to be made by jobs that wait for this one", handle).note()
	case jobs.Maker:
		return makerFault(f.Maker, place, handle).note()
	default:
		return refuse(codes.DeadlineExceeded, "DEADLINE_EXCEEDED", "", "the deadline passed before the job had ended").note()
	}
}

// makerFault is why a job fails with another one, which was to make an input of it.
// It names the first of the jobs that failed one after the other.
func makerFault(maker jobs.Job, place string, handle graph.Handle) *fault {
	f := refuse(codes.Aborted, "PRODUCER_FAILED", place, "")
	f.job = maker.ID
	why := "was cancelled"
	if maker.State == jobs.Failed {
		e := new(tacitv1.JobError)
		switch err := proto.Unmarshal(maker.Error, e); {
		case err != nil || e.Reason == "":
			why = "failed: " + maker.Reason
		case e.Reason == f.reason:
			f.job, f.message = e.JobId, e.Message
			return f
		case e.Place != "":
			why = fmt.Sprintf("failed: %s: %s (%s)", e.Place, e.Message, e.Reason)
		default:
			why = fmt.Sprintf("failed: %s (%s)", e.Message, e.Reason)
		}
	}
	_, id := access.SplitJob(maker.ID)
	f.message = fmt.Sprintf("job %s, which was to make %s, %s", id, handle, why[:min(len(why), maxRootMessage)])
	return f
}

// inputPlace is where a spec first reads a handle.
func inputPlace(spec *tacitv1.JobSpec, handle []byte) string {
	for i, n := range spec.GetNodes() {
		for j, in := range n.GetInputs() {
			if bytes.Equal(in.GetHandle(), handle) {
				return fmt.Sprintf("nodes[%d].inputs[%d]", i, j)
			}
		}
	}
	return ""
}
