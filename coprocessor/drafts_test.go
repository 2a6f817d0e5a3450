package coprocessor

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// TestDrafts: a graph that was validated at submission serves one worker, with the
// records that it was validated with and no others.
func TestDrafts(t *testing.T) {
	s, _ := start(t, mock)
	h := s.prepareMock(integer.Plain(integer.Uint8, 1), integer.Plain(integer.Uint8, 2))
	js := specUnder(t, mockKeys().Secret.ID(), "input a = 0x"+h[0]+"\ninput b = 0x"+h[1]+"\nc = add(a, b)\noutput c\n")
	js.Strategy = tacitv1.Strategy_STRATEGY_THROUGHPUT
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(js)
	if err != nil {
		t.Fatal(err)
	}
	g, records, err := s.validate(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	d := &draft{spec: js, graph: g, records: records}
	job := jobs.Job{Spec: encoded}
	s.drafts = newDrafts()

	s.drafts.put(encoded, d)
	job.SpecDigest = s.drafts.order.Front().Value.(*validated).spec
	if got, read, ok := s.drafted(t.Context(), job); !ok || got != g || len(read) != 2 {
		t.Errorf("%p with %d records, %v", got, len(read), ok)
	}
	if _, _, ok := s.drafted(t.Context(), job); ok {
		t.Error("it serves twice")
	}

	other := make(map[graph.Handle][]byte)
	for h := range records {
		other[h] = []byte("another one")
	}
	s.drafts.put(encoded, &draft{spec: js, graph: g, records: other})
	if _, _, ok := s.drafted(t.Context(), job); ok {
		t.Error("it serves other records")
	}
	if got, _, err := s.meaning(t.Context(), job); err != nil || got.Digest() != g.Digest() || got == g {
		t.Errorf("%v", err)
	}
	s.drafts.put(encoded, &draft{spec: js, graph: g, records: records, missing: []*tacitv1.PendingCiphertext{{}}})
	if s.drafts.order.Len() != 0 {
		t.Error("one whose inputs are missing is kept")
	}
}

// TestDraftsAreBounded: the first ones go first, and large ones are not kept.
func TestDraftsAreBounded(t *testing.T) {
	d := newDrafts()
	const size = maxDraft - nodeMemory
	g := new(graph.Graph)
	for i := range 100 {
		d.put(append(make([]byte, size), byte(i)), &draft{graph: g})
		if d.size > maxDrafts || d.order.Len() != len(d.spec) {
			t.Fatalf("%d bytes, %d and %d", d.size, d.order.Len(), len(d.spec))
		}
	}
	if d.order.Len() != maxDrafts/(size+1) {
		t.Errorf("%d are kept", d.order.Len())
	}
	n := d.order.Len()
	d.put(append(make([]byte, size), 99), &draft{graph: g}) // again
	if d.order.Len() != n {
		t.Errorf("%d are kept after one came twice", d.order.Len())
	}
	d.put(make([]byte, maxDraft+1), &draft{graph: g})
	if d.order.Len() != n {
		t.Error("a large one is kept")
	}
	for _, v := range d.spec {
		if d.take(v.Value.(*validated).spec) == nil {
			t.Error("one is not there")
		}
	}
	if d.size != 0 || d.order.Len() != 0 {
		t.Errorf("%d bytes of %d are left", d.size, d.order.Len())
	}
}
