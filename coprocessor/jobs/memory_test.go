package jobs_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

// BenchmarkKept tells how many bytes of memory a job takes that has ended and is kept: in
// the index of the queue and in those of the embedded server.
func BenchmarkKept(b *testing.B) {
	ctx := b.Context()
	q, err := jobs.Open(ctx, storetest.Start(b, b.TempDir()).JetStream(), jobs.Options{Exclusive: true})
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close()
	const workers = 16
	run := func(name string, count int) {
		var all sync.WaitGroup
		for w := range workers {
			all.Go(func() {
				for i := w; i < count; i += workers {
					s := jobs.Submission{ID: fmt.Sprintf("principal-%d.%s-%d", w, name, i), Spec: fmt.Appendf(nil, "%-200d", i), Pool: fmt.Sprintf("%064d", 0), Cost: 8}
					if _, _, err := q.Submit(ctx, s); err != nil {
						b.Error(err)
						return
					}
					l, err := q.Claim(ctx)
					if err == nil {
						err = l.Done(ctx, fmt.Appendf(nil, "%-700d", i))
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
	}
	live := func() float64 {
		runtime.GC()
		runtime.GC() // what pools held
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	run("first", 12_000) // fills what the queue and the store remember
	before := live()
	b.ResetTimer()
	run("job", b.N)
	b.StopTimer()
	b.ReportMetric((live()-before)/float64(b.N), "live-B/job")
}
