package jobs_test

import (
	"errors"
	"testing"

	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

// A damaged record, specification or result is named, and what is known of a job whose
// record is damaged goes to another store.
func TestVerifyAndSalvage(t *testing.T) {
	ctx := t.Context()
	for _, c := range []struct {
		name   string
		damage string // bytes of what is damaged
		bucket string
		then   jobs.State // of the job whose record is damaged
		result []byte     // of the job a
	}{
		{"record of a job that is done", `"note":"bm90ZSBvZiBh"`, "jobs", jobs.Done, large("result of a")},
		{"record of a job with a small result", `"note":"bm90ZSBvZiBh"`, "jobs", jobs.Failed, []byte("result of a")},
		{"record of a job that is queued", `"note":"bm90ZSBvZiBi"`, "jobs", jobs.Failed, []byte("result of a")},
		{"specification", "specification of a", "job-data", 0, []byte("result of a")},
		{"result", "result of a", "job-data", 0, large("result of a")},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			n := storetest.Start(t, dir)
			q := open(t, n, jobs.Options{})
			for _, id := range []string{"a", "b"} {
				_, _, err := q.Submit(ctx, jobs.Submission{ID: id, Spec: []byte("specification of " + id), Note: []byte("note of " + id)})
				must(t, err)
			}
			must(t, claim(t, q).Done(ctx, c.result))
			if _, err := q.Verify(ctx, func(e *store.DataLossError) { t.Errorf("undamaged: %v", e) }); err != nil {
				t.Fatal(err)
			}
			q.Close()
			storetest.Stop(t, n)
			storetest.FlipAll(t, dir, []byte(c.damage))
			n = storetest.Start(t, dir)
			q = open(t, n, jobs.Options{})
			var found []*store.DataLossError
			if _, err := q.Verify(ctx, func(e *store.DataLossError) { found = append(found, e) }); err != nil {
				t.Fatal(err)
			}
			if len(found) != 1 || found[0].Bucket != "jobs" {
				t.Fatalf("found %v", found)
			}
			if c.then == 0 {
				return
			}
			id := found[0].Key[len("job/"):]
			if _, err := q.Get(ctx, id); !errors.As(err, new(*store.DataLossError)) {
				t.Errorf("Get: %v", err)
			}
			data, err := store.OpenBlobs(ctx, n.JetStream(), "job-data")
			must(t, err)
			value, err := jobs.Salvage(ctx, data, found[0].Key)
			must(t, err)
			other := storetest.Start(t, t.TempDir())
			records, err := store.OpenBucket(ctx, other.JetStream(), jobs.Records, 1)
			must(t, err)
			must(t, records.Write(ctx, found[0].Key, value))
			job, err := open(t, other, jobs.Options{}).Stat(ctx, id)
			must(t, err)
			if job.State != c.then || job.State == jobs.Failed && job.Cause != jobs.Lost {
				t.Errorf("%+v", job)
			}
		})
	}
}
