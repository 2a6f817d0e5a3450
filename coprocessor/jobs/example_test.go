package jobs_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// A queue over an embedded server, one worker, one job.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "jobs")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	node, err := store.Embedded(ctx, store.EmbeddedOptions{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close(ctx)
	queue, err := jobs.Open(ctx, node.JetStream(), jobs.Options{Exclusive: true})
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()

	go func() {
		lease, err := queue.Claim(ctx)
		if err != nil {
			log.Fatal(err)
		}
		result := fmt.Appendf(nil, "the sum of %s", lease.Job().Spec)
		if err := lease.Done(ctx, result); err != nil {
			log.Fatal(err)
		}
	}()

	if _, _, err := queue.Submit(ctx, jobs.Submission{ID: "job-1", Spec: []byte("3 and 4")}); err != nil {
		log.Fatal(err)
	}
	job, err := queue.Wait(ctx, "job-1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %v: %s\n", job.ID, job.State, job.Result)
	// Output: job-1: done: the sum of 3 and 4
}
