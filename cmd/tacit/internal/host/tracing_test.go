package host

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/tacit-fhe/tacit/coprocessor/client"
)

// spans is a collector of traces.
type spans struct {
	collector.UnimplementedTraceServiceServer
	mu       sync.Mutex
	names    []string
	services []string
}

func (s *spans) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range r.ResourceSpans {
		for _, a := range of.Resource.Attributes {
			if a.Key == "service.name" {
				s.services = append(s.services, a.Value.GetStringValue())
			}
		}
		for _, scope := range of.ScopeSpans {
			for _, span := range scope.Spans {
				s.names = append(s.names, span.Name)
			}
		}
	}
	return new(collector.ExportTraceServiceResponse), nil
}

// TestTracing runs a service whose environment names a collector, which must have
// the span of a call when the service has ended.
func TestTracing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := new(spans)
	g := grpc.NewServer()
	collector.RegisterTraceServiceServer(g, s)
	var wg sync.WaitGroup
	wg.Go(func() { g.Serve(l) })
	defer wg.Wait()
	defer g.Stop()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	ctx, cancel := context.WithCancel(t.Context())
	err = Run(ctx, config(t), func(address string) {
		defer cancel()
		c, err := client.Dial(address, client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Info(ctx); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.names, "tacit.v1.Coprocessor/GetInfo") || !slices.Contains(s.services, "tacit") {
		t.Errorf("spans %v of %v", s.names, s.services)
	}
}

// TestTracingAway runs a service whose collector does not answer, which is no
// reason to fail.
func TestTracingAway(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "100")
	ctx, cancel := context.WithCancel(t.Context())
	if err := Run(ctx, config(t), func(string) { cancel() }); err != nil {
		t.Error(err)
	}
}
