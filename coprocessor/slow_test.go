package coprocessor

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Callers who watch all jobs and never read hold little memory, however much happens, and
// are let go; one who reads misses nothing.
func TestWatchersWhoDoNotRead(t *testing.T) {
	const watchers, jobs, perWatcher = 24, 800, 1 << 20
	s, good := small(t, func(o *Options) { o.patience = time.Second })
	address := s.overTCP()
	request, err := proto.Marshal(&tacitv1.WatchJobsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	message := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))), request...)
	before := heap()
	var silent []net.Conn
	for range watchers {
		conn := begun(t, address, tacitv1.Coprocessor_WatchJobs_FullMethodName, message)
		// The window of a connection is never enlarged, and little is kept for it here.
		conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		silent = append(silent, conn)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	feed, err := from(t, "127.0.0.2", address).WatchJobs(ctx, &tacitv1.WatchJobsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan int, 1)
	go func() {
		seen := make(map[string]bool)
		for len(seen) < jobs {
			e, err := feed.Recv()
			if err != nil {
				break
			}
			if strings.HasPrefix(e.GetJob().GetId(), "waits-") {
				seen[e.GetJob().Id] = true
			}
		}
		told <- len(seen)
	}()
	spec := adding(t, named("never"), "held")
	for i := range jobs {
		id := fmt.Sprintf("waits-%d-%s", i, strings.Repeat("x", 100))
		s.request(&tacitv1.SubmitJobRequest{Id: id, Spec: spec, MissingInputs: expect(map[string]tacitv1.Type{"never": tacitv1.Type_TYPE_EUINT8})})
	}
	if n := <-told; n != jobs {
		t.Errorf("who reads is told of %d jobs of %d", n, jobs)
	}
	cancel()
	if grown := heap() - before; grown > watchers*perWatcher {
		t.Errorf("%d watchers who do not read hold %d bytes", watchers, grown)
	} else {
		t.Logf("%d watchers who do not read, after %d jobs: %d KiB more in use", watchers, jobs, grown>>10)
	}
	s.freed()
	for _, conn := range silent {
		ends(t, conn)
	}
	if job := s.run("good", good()); job.State != succeeded {
		t.Errorf("%v", job)
	}
}
