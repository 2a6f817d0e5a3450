package coprocessor

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// TestTrace follows one trace from a client's call through the queue to the nodes
// and into the log.
func TestTrace(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	defer provider.Shutdown(context.Background())
	log := new(syncBuffer)
	s, stop := startWith(t, []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(provider), otelgrpc.WithPropagators(propagation.TraceContext{})))},
		func(o *Options) { o.Tracer, o.Log = provider, slog.New(slog.NewTextHandler(log, nil)) })
	h := s.prepare(integer.Plain(integer.Uint8, 200), integer.Plain(integer.Uint8, 100))
	const id = "0123456789abcdef0123456789abcdef"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+id+"-0123456789abcdef-01")
	_, err := s.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{
		Id: "traced", Spec: spec(t, "input a = 0x"+h[0]+"\ninput b = 0x"+h[1]+"\nc = add(a, b)\nd = lt(c, b)\noutput d")})
	if err != nil {
		t.Fatal(err)
	}
	s.waitState("traced", tacitv1.JobState_JOB_STATE_SUCCEEDED)
	stop()

	byName := make(map[string]tracetest.SpanStub)
	for _, span := range spans.GetSpans() {
		if span.SpanContext.TraceID().String() == id {
			byName[span.Name] = span
		}
	}
	for name, parent := range map[string]string{
		"tacit.v1.Coprocessor/SubmitJob": "", "queue": "tacit.v1.Coprocessor/SubmitJob", "job": "tacit.v1.Coprocessor/SubmitJob",
		"node add": "job", "node lt": "job",
	} {
		span, ok := byName[name]
		if !ok {
			t.Errorf("no span %q among %d", name, len(byName))
			continue
		}
		if want := byName[parent].SpanContext.SpanID(); parent != "" && span.Parent.SpanID() != want {
			t.Errorf("span %q is a child of %v, want %v", name, span.Parent.SpanID(), want)
		}
		if span.EndTime.Before(span.StartTime) {
			t.Errorf("span %q ends %v before it starts", name, span.StartTime.Sub(span.EndTime))
		}
	}
	if got := attributeOf(byName["job"], "tacit.outcome"); got != "succeeded" {
		t.Errorf("outcome %q", got)
	}
	if got := attributeOf(byName["node add"], "tacit.bootstraps"); got != "4" {
		t.Errorf("%q bootstraps", got)
	}
	for _, message := range []string{"job submitted", "job started", "job computed"} {
		found := false
		for line := range strings.Lines(log.String()) {
			found = found || strings.Contains(line, `msg="`+message+`"`) && strings.Contains(line, "job=traced") && strings.Contains(line, "trace="+id)
		}
		if !found {
			t.Errorf("no %q with job and trace in the log:\n%s", message, log)
		}
	}
}

// TestJobLog names the principal of a job and of a call, where there is one.
func TestJobLog(t *testing.T) {
	log := new(syncBuffer)
	s := &Server{opts: Options{Log: slog.New(slog.NewTextHandler(log, nil))}.withDefaults()}
	s.jobLog(jobs.Job{ID: "alice.sum"}).Info("owned")
	s.jobLog(jobs.Job{ID: "sum"}).Info("local")
	ctx := context.WithValue(t.Context(), callKey{}, &call{principal: access.Principal{Name: "bob"}})
	s.opts.Log.WithGroup("g").InfoContext(ctx, "called", "a", 1)
	s.opts.Log.InfoContext(context.WithValue(ctx, callKey{}, &call{principal: access.Local}), "local call")
	for i, want := range []string{
		"msg=owned job=alice.sum principal=alice\n", "msg=local job=sum\n", "msg=called g.a=1 g.principal=bob\n", "msg=\"local call\"\n",
	} {
		if got := strings.SplitAfter(log.String(), "\n")[i]; !strings.HasSuffix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func attributeOf(span tracetest.SpanStub, key attribute.Key) string {
	for _, a := range span.Attributes {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}

// TestTraceFailure tells a failure by its reason, and a cancelled job from one.
func TestTraceFailure(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	defer provider.Shutdown(context.Background())
	s, stop := start(t, func(o *Options) { o.Tracer = provider })
	s.submit("long", s.long())
	s.waitState("long", tacitv1.JobState_JOB_STATE_RUNNING)
	s.cancel("long")
	stop()
	outcome := ""
	for _, span := range spans.GetSpans() {
		if span.Name == "job" {
			outcome = attributeOf(span, "tacit.outcome")
		}
	}
	if outcome != "stopped" {
		t.Errorf("a cancelled job has the outcome %q", outcome)
	}
}
