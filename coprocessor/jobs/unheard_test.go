package jobs

import (
	"context"
	"errors"
	"testing"

	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

// A job whose submission was not answered, and was written later, is heard of by the
// queue that alone writes.
func TestUnheardWrite(t *testing.T) {
	js := storetest.Start(t, t.TempDir()).JetStream()
	q, err := Open(t.Context(), js, Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	s := Submission{ID: "late", Spec: []byte("spec")}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.write(ended, s.ID, &record{Version: recordVersion, State: Queued}, 0); !errors.Is(err, context.Canceled) {
		t.Fatalf("written: %v", err)
	}
	q.listen()
	if q.Stats().States[Queued] != 0 {
		t.Fatal("a job that was not written is queued")
	}
	other, err := Open(t.Context(), js, Options{}) // writes what the first one's write may have written
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	if _, _, err := other.Submit(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	q.listen()
	if q.Stats().States[Queued] != 1 {
		t.Fatal("the job is not known")
	}
}
