package coprocessor

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
)

// Spans name jobs, operations and types, and count bootstraps; they hold nothing
// of what is computed on.

func (s *Server) tracer() trace.Tracer {
	return s.opts.Tracer.Tracer("github.com/tacit-fhe/tacit/coprocessor")
}

// traceJob begins the span of an attempt at a job, in the trace of its
// submission, and makes one of the time that a job waited for its first.
func (s *Server) traceJob(ctx context.Context, job jobs.Job, start time.Time) (context.Context, trace.Span) {
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": job.Trace})
	id := attribute.String("tacit.job", job.ID)
	if job.Attempts == 1 {
		_, wait := s.tracer().Start(ctx, "queue", trace.WithTimestamp(job.Created), trace.WithAttributes(id))
		wait.End(trace.WithTimestamp(start))
	}
	return s.tracer().Start(ctx, "job", trace.WithTimestamp(start), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(id, attribute.Int("tacit.attempt", job.Attempts)))
}

// endSpan ends a span. Only a failure has an error that is worth telling.
func endSpan(span trace.Span, outcome string, err error) {
	span.SetAttributes(attribute.String("tacit.outcome", outcome))
	if outcome == "failed" {
		span.SetStatus(otelcodes.Error, faultOf(err).reason)
	}
	span.End()
}

// traceNode begins the span of a node.
func (r *run) traceNode(ctx context.Context, i int, n graph.Node) (context.Context, trace.Span) {
	return r.tracer.Start(ctx, "node "+graph.OpName(n.Op), trace.WithAttributes(
		attribute.Int("tacit.node", i), attribute.String("tacit.type", graph.TypeName(n.Type)), attribute.String("tacit.label", n.Label)))
}

func endNode(span trace.Span, m *meter, err error) {
	span.SetAttributes(attribute.Int("tacit.bootstraps", m.spent().Bootstraps), attribute.Int("tacit.depth", m.spent().Depth))
	if err != nil {
		span.SetStatus(otelcodes.Error, faultOf(err).reason)
	}
	span.End()
}

// contextLog adds to records what their context knows: the trace, and the
// principal of the call.
type contextLog struct{ slog.Handler }

func (h contextLog) Handle(ctx context.Context, r slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		r.AddAttrs(slog.String("trace", span.TraceID().String()))
	}
	if p := callOf(ctx).principal.Name; p != "" && p != access.Local.Name {
		r.AddAttrs(slog.String("principal", p))
	}
	return h.Handler.Handle(ctx, r)
}

func (h contextLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextLog{h.Handler.WithAttrs(attrs)}
}

func (h contextLog) WithGroup(name string) slog.Handler { return contextLog{h.Handler.WithGroup(name)} }

// jobLog is the log of what becomes of a job.
func (s *Server) jobLog(job jobs.Job) *slog.Logger {
	log := s.opts.Log.With("job", job.ID)
	if owner, _ := access.SplitJob(job.ID); owner != access.Local.Name {
		log = log.With("principal", owner)
	}
	return log
}
