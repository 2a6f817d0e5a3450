package coprocessor

import (
	"crypto/sha256"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
)

// derived says that an output lies under the handle that is derived from its expression.
func derived(g *graph.Graph, o graph.Output) bool {
	return o.Handle == g.Node(o.Node).ResultHandle(o.Result)
}

// originsOf returns, for every needed node of a graph, a digest of the records that it is
// computed from: with the derived handle, which tells how, it determines the result to
// the bit. Handles do not tell the records: clients name results, and a name whose
// ciphertext was collected can name another one. It is the SHA-256 of
//
//	"tacit/v1/origin" (1 SHA-256(record of a stored operand) | 2 origin of a computed operand)*
func originsOf(g *graph.Graph, records map[graph.Handle][]byte) [][32]byte {
	digests := make(map[graph.Handle][32]byte, len(records))
	for h, record := range records {
		digests[h] = sha256.Sum256(record)
	}
	origins := make([][32]byte, g.Len())
	for _, i := range g.Order() {
		h := sha256.New()
		h.Write([]byte("tacit/v1/origin"))
		for _, o := range g.Node(i).Operands {
			switch o.Kind {
			case graph.Stored:
				d := digests[o.Handle]
				h.Write(append([]byte{1}, d[:]...))
			case graph.Computed:
				h.Write(append([]byte{2}, origins[o.Node][:]...))
			}
		}
		h.Sum(origins[i][:0])
	}
	return origins
}
