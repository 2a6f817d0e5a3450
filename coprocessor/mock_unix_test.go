//go:build unix

package coprocessor

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// BenchmarkMockJobs submits jobs of one 8-bit addition to a mock, from as many callers
// as keep it busy, and waits for each.
func BenchmarkMockJobs(b *testing.B) {
	s, _ := start(b, mock, func(o *Options) { o.ConcurrentJobs = 16 })
	h := s.prepareMock(integer.Plain(integer.Uint8, 1), integer.Plain(integer.Uint8, 2))
	text := fmt.Sprintf("input a = 0x%s\ninput b = 0x%s\nc = add(a, b)\noutput c", h[0], h[1])
	id := mockKeys().Secret.ID()
	var next atomic.Int64
	store := s.node.JetStream().Conn()
	start, used, asked := time.Now(), processorTime(b), store.Stats()
	b.ResetTimer()
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				spec := specUnder(b, id, text)
				name := fmt.Sprint("job-", i)
				// Each stores a result of its own.
				spec.Outputs[0].Handle = named(name)
				job, err := s.CoprocessorClient.SubmitJob(b.Context(), &tacitv1.SubmitJobRequest{Id: name, Spec: spec})
				if err == nil && job.State != succeeded {
					job, err = s.CoprocessorClient.WaitJob(b.Context(), &tacitv1.WaitJobRequest{Id: name, Timeout: durationpb.New(time.Minute)})
				}
				if err != nil || job.State != succeeded {
					b.Errorf("%v, %v", job, err)
					return
				}
			}
		})
	}
	callers.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "jobs/s")
	// Of the service and of the callers, which other programs do not change.
	now := store.Stats()
	b.ReportMetric(float64(now.OutMsgs-asked.OutMsgs)/float64(b.N), "asked/job") // of the store
	b.ReportMetric(float64(now.InMsgs-asked.InMsgs)/float64(b.N), "told/job")    // by it: answers and changes
	b.ReportMetric(1000*(processorTime(b)-used).Seconds()/float64(b.N), "cpu-ms/job")
}

// processorTime is what this process has taken of the processors.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
