package coprocessor

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// TestForeignResult: bob, who can tell under which handle the result of alice's next job
// will lie, stores something else there before. She does not take it for her result.
func TestForeignResult(t *testing.T) {
	g := guard(t)
	alice, bob := g.user("alice"), g.user("bob")
	g.grant(evaluation(g.key()), access.Everyone, tacitv1.Right_RIGHT_COMPUTE)
	next := spec(t, g.sum("mul(a, b)"))
	estimate, err := alice.CoprocessorClient.EstimateJob(t.Context(), &tacitv1.EstimateJobRequest{Spec: next})
	if err != nil {
		t.Fatal(err)
	}
	handle := estimate.Outputs[0].Handle
	if job := bob.run("before", spec(t, fmt.Sprintf("zero: euint8 = trivial_encrypt(0)\noutput zero as 0x%x", handle))); job.State != succeeded {
		t.Fatal(job)
	}
	if job := alice.run("next", next); job.State != tacitv1.JobState_JOB_STATE_FAILED || job.Error.GetReason() != "RESULT_CONFLICT" {
		t.Errorf("alice's 5·7 is %s: %v", g.user("root").decrypt(handle), job)
	}
}

// TestForeignInput: bob stores something under the name that alice gives to what a job of
// hers makes, and lets her compute on it. Another job of hers, which waits for that, does
// not start with it.
func TestForeignInput(t *testing.T) {
	g := guard(t)
	alice, bob, root := g.user("alice"), g.user("bob"), g.user("root")
	g.grant(evaluation(g.key()), access.Everyone, tacitv1.Right_RIGHT_COMPUTE)
	ctx := with(t.Context(), g.token("root")("", nil))
	done := func(_ *tacitv1.ServiceStatus, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	done(root.admin().Pause(ctx, &tacitv1.PauseRequest{}))
	alice.submit("maker", spec(t, g.sum(fmt.Sprintf("mul(a, b) as 0x%x", named("product")))))
	consumer := alice.submit("consumer", spec(t, fmt.Sprintf("input p = 0x%x\nq = add(p, 1)\noutput q", named("product"))))
	if consumer.State != tacitv1.JobState_JOB_STATE_WAITING {
		t.Fatal(consumer)
	}
	done(root.admin().Quarantine(ctx, &tacitv1.QuarantineRequest{Subject: &tacitv1.QuarantineRequest_Principal{Principal: "alice"}}))
	done(root.admin().Resume(ctx, &tacitv1.ResumeRequest{}))
	if job := bob.run("before", spec(t, fmt.Sprintf("zero: euint8 = trivial_encrypt(0)\noutput zero as 0x%x", named("product")))); job.State != succeeded {
		t.Fatal(job)
	}
	if _, err := bob.CoprocessorClient.Grant(t.Context(), &tacitv1.GrantRequest{
		Resource: ciphertext(named("product")), Grant: &tacitv1.PrincipalRights{Principal: "alice", Rights: []tacitv1.Right{tacitv1.Right_RIGHT_READ, tacitv1.Right_RIGHT_COMPUTE}},
	}); err != nil {
		t.Fatal(err)
	}
	done(root.admin().Release(ctx, &tacitv1.ReleaseRequest{Subject: &tacitv1.ReleaseRequest_Principal{Principal: "alice"}}))
	consumer, err := alice.CoprocessorClient.WaitJob(t.Context(), &tacitv1.WaitJobRequest{Id: "consumer", Timeout: durationpb.New(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	if consumer.State != tacitv1.JobState_JOB_STATE_FAILED || consumer.Error.GetReason() != "PRODUCER_FAILED" {
		t.Errorf("alice computes with what bob has stored: %v", consumer)
	}
}
