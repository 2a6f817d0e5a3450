package jobs

import (
	"bytes"
	"testing"

	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

// A result that an attempt stored and did not record is swept also where the next attempt
// had one that lies in its record, and not where it has one that does not.
func TestSweepLeavesResults(t *testing.T) {
	ctx := t.Context()
	q, err := Open(ctx, storetest.Start(t, t.TempDir()).JetStream(), Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	large := bytes.Repeat([]byte("result"), maxInline)
	for id, result := range map[string][]byte{"small": []byte("result"), "large": large, "empty": nil} {
		if _, _, err := q.Submit(ctx, Submission{ID: id}); err != nil {
			t.Fatal(err)
		}
		l, err := q.Claim(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// An earlier attempt, which came as far as this.
		if _, err := q.data.Renew(ctx, resultName(id), append([]byte("another "), large...)); err != nil {
			t.Fatal(err)
		}
		if err := l.Done(ctx, result); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{3, 0} {
		if n, err := q.Sweep(ctx, 0, false); err != nil || n != want {
			t.Errorf("%d results, %v, want %d", n, err, want)
		}
	}
	for id, want := range map[string][]byte{"small": []byte("result"), "large": large, "empty": nil} {
		q.mu.Lock()
		q.recent.drop(id)
		q.mu.Unlock()
		if job, err := q.Get(ctx, id); err != nil || !bytes.Equal(job.Result, want) {
			t.Errorf("%s: %d bytes, %v", id, len(job.Result), err)
		}
	}
}
