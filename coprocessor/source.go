package coprocessor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/monitor"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Monitor returns what answers operators over HTTP: metrics, health, a page for
// people and, with profiling, profiles. It tells job ids to whoever asks.
func (s *Server) Monitor(profiling bool) http.Handler {
	return monitor.Handler(source{s}, s.metrics, profiling)
}

// source is a server as package monitor sees it.
type source struct{ s *Server }

func (s source) Identity() monitor.Identity {
	o := s.s.opts
	return monitor.Identity{
		Version: o.Version, Role: string(o.Role), Backend: o.Backend.Info().Name, Parameters: o.Params.Name(), Workers: o.Workers, Started: s.s.started,
	}
}

func (s source) Snapshot() monitor.Snapshot {
	queue := s.s.queue.Stats()
	states := make(map[string]int)
	for state, n := range queue.States {
		states[stateName(state)] = n
	}
	done, prepared, bytes := s.s.engines.stats()
	var missing uint64
	for _, e := range s.s.node.Truncated() {
		missing += e.Missing
	}
	var devices []accel.DeviceState
	if engine, ok := s.s.opts.Backend.(accel.PBSEngine); ok {
		devices = engine.DeviceStates()
	}
	return monitor.Snapshot{
		Jobs: states, Damaged: queue.Damaged, Truncated: missing, OldestQueued: queue.Oldest, Backlog: queue.Backlog, Draining: s.s.gate.closed(),
		Bootstraps: done.Bootstraps, Batches: done.Batches, Waiting: done.Waiting,
		PreparedKeys: prepared, PreparedBytes: bytes, PreparedLimit: s.s.engines.limit, Uploads: s.s.uploads.held(),
		Devices: devices,
	}
}

// stateName is the name that the protocol has for a state.
func stateName(s jobs.State) string {
	return strings.ToLower(strings.TrimPrefix(jobStates[s].String(), "JOB_STATE_"))
}

func (s source) Stored(ctx context.Context, n int) (monitor.Stored, error) {
	held, err := s.s.queue.Control(ctx)
	if err != nil {
		return monitor.Stored{}, err
	}
	recent, err := s.recent(ctx, n)
	return monitor.Stored{
		Recent: recent, Paused: held.Paused, Quarantined: len(held.Tenants) + len(held.Pools),
	}, err
}

func (s source) Space(ctx context.Context) (store.Space, error) { return s.s.node.Space(ctx) }

func (s source) recent(ctx context.Context, n int) ([]monitor.Job, error) {
	list, _, err := s.s.queue.List(ctx, jobs.ListOptions{Limit: n, Newest: true})
	if err != nil {
		return nil, err
	}
	out := make([]monitor.Job, len(list))
	for i, j := range list {
		out[i] = monitor.Job{
			ID: j.ID, State: stateName(j.State), Created: j.Created, Started: j.Started, Ended: j.Finished, Bootstraps: j.Cost, Attempts: j.Attempts,
		}
		if j.State != jobs.Failed {
			continue
		}
		e := new(tacitv1.JobError)
		if out[i].Reason = j.Reason; proto.Unmarshal(j.Error, e) == nil && e.Reason != "" {
			out[i].Reason = e.Reason
		}
	}
	return out, nil
}

// errNotServing is why a service is not ready before Run and after it was told
// to stop.
var errNotServing = errors.New("the service is starting or stopping")

func (s source) Ready(ctx context.Context) error {
	if !s.s.serving.Load() {
		return errNotServing
	}
	if _, err := s.s.node.JetStream().AccountInfo(ctx); err != nil {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	return nil
}
