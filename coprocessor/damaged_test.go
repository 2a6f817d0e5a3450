package coprocessor

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// A job whose record is damaged is lost, with DATA_LOSS wherever it is told of, until an
// administrator discards it; the others go on.
func TestDamagedJob(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	dir := t.TempDir()
	s, stop := start(t, func(o *Options) { o.Dir = dir })
	h := s.prepare(integer.Plain(integer.Uint8, 1))
	s.run("whole", spec(t, "input a = 0x"+h[0]+"\nb = add(a, 1)\noutput b"))
	if _, err := s.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{
		Id: "broken", Spec: spec(t, "input a = 0x"+h[0]+"\nb = add(a, 2)\noutput b"), Priority: 77,
	}); err != nil {
		t.Fatal(err)
	}
	s.end("broken")
	stop()
	storetest.FlipAll(t, dir, []byte(`"priority":77`))
	s, _ = start(t, func(o *Options) { o.Dir = dir })
	lost := refusal{codes.DataLoss, "DATA_LOSS", ""}
	_, err := s.CoprocessorClient.GetJob(ctx, &tacitv1.GetJobRequest{Id: "broken"})
	if got := refused(t, err); got != lost {
		t.Errorf("GetJob: %v", got)
	}
	_, err = s.CoprocessorClient.WaitJob(ctx, &tacitv1.WaitJobRequest{Id: "broken", Timeout: durationpb.New(time.Second)})
	if got := refused(t, err); got != lost {
		t.Errorf("WaitJob: %v", got)
	}
	list := func() (states []string) {
		t.Helper()
		resp, err := s.CoprocessorClient.ListJobs(ctx, &tacitv1.ListJobsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range resp.Jobs {
			states = append(states, j.Id+" "+j.State.String()+" "+j.Error.GetReason())
		}
		return states
	}
	if got := strings.Join(list(), ", "); got != "whole JOB_STATE_SUCCEEDED , broken JOB_STATE_FAILED DATA_LOSS" {
		t.Errorf("listed: %s", got)
	}
	feed, err := s.CoprocessorClient.WatchJobs(ctx, &tacitv1.WatchJobsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		e, err := feed.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if j := e.GetJob(); j.GetId() == "broken" {
			if j.Error.GetReason() != "DATA_LOSS" || j.Error.GetCode() != int32(codes.DataLoss) {
				t.Errorf("the feed has %v", j)
			}
			break
		}
	}
	admin := tacitv1.NewAdminClient(s.conn)
	damaged := func() uint64 {
		t.Helper()
		status, err := admin.GetStatus(ctx, &tacitv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if n := (source{s.Server}).Snapshot().Damaged; uint64(n) != status.DamagedJobs {
			t.Errorf("%d in the status, %d in the metrics", status.DamagedJobs, n)
		}
		return status.DamagedJobs
	}
	if n := damaged(); n != 1 {
		t.Errorf("%d are damaged", n)
	}
	_, err = admin.DiscardJob(ctx, &tacitv1.DiscardJobRequest{Id: "whole"})
	if got := refused(t, err); got != (refusal{codes.FailedPrecondition, "WRONG_STATE", "id"}) {
		t.Errorf("DiscardJob of one that is whole: %v", got)
	}
	if _, err := admin.DiscardJob(ctx, &tacitv1.DiscardJobRequest{Id: "broken"}); err != nil {
		t.Fatal(err)
	}
	if got := list(); len(got) != 1 || damaged() != 0 {
		t.Errorf("after it is discarded: %q", got)
	}
	if job := s.run("next", spec(t, "input a = 0x"+h[0]+"\nb = add(a, 3)\noutput b")); job.State != succeeded {
		t.Errorf("%v", job)
	}
}
