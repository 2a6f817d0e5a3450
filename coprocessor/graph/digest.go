package graph

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Domains of the digests. A change of an encoding changes its domain; what is in brackets came later and is there only
// where it is used.
const (
	specDomain       = "tacit/v1/job-spec"
	expressionDomain = "tacit/v1/expression-2"
	resultDomain     = "tacit/v1/expression-result"
)

// canonical writes values into a hash such that no two sequences of writes of the same form look alike: numbers have a
// fixed width, big-endian, and byte strings follow their length.
type canonical struct{ h hash.Hash }

func newCanonical(domain string) canonical {
	c := canonical{sha256.New()}
	c.bytes([]byte(domain))
	return c
}

func (c canonical) uint32(v uint32) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	c.h.Write(b[:])
}

func (c canonical) bytes(b []byte) {
	c.uint32(uint32(len(b)))
	c.h.Write(b)
}

// strategy writes a strategy that is not the first one, which came before there
// were others.
func (c canonical) strategy(s tacitv1.Strategy) {
	if s != tacitv1.Strategy_STRATEGY_THROUGHPUT {
		c.bytes([]byte("strategy"))
		c.uint32(uint32(s))
	}
}

func (c canonical) sum() (d [32]byte) {
	c.h.Sum(d[:0])
	return d
}

// SpecDigest returns the SHA-256 of the canonical encoding of a spec; two specs have the same one exactly when they are
// the same spec. It is defined for every spec, valid or not, and stays the same across versions of protobuf.
//
// The encoding, with u32 a big-endian number of four bytes and bytes(x) the u32 length of x followed by x:
//
//	spec   = bytes("tacit/v1/job-spec") [bytes("strategy") u32(strategy)] bytes(key_id) u32(len nodes) node* u32(len outputs) output*
//	node   = [u32(2) bytes(table)] opt(op) opt(type) u32(len inputs) input* bytes(result) bytes(label)
//	input  = [u32(4) u32(result)] (u32(0) | u32(1) bytes(handle) | u32(2) u32(node) | u32(3) bytes(scalar without leading zeros))
//	output = [u32(2) u32(result)] opt(node) bytes(handle)
//	opt(x) = u32(0) where x is absent | u32(1) u32(x)
//
// An optional part in brackets is left out where the strategy is STRATEGY_THROUGHPUT, the table empty, or the result the
// first.
//
// Fields this version does not know are not covered; Validate refuses them.
func SpecDigest(spec *tacitv1.JobSpec) [32]byte {
	c := newCanonical(specDomain)
	c.strategy(spec.GetStrategy())
	c.bytes(spec.GetKeyId())
	c.uint32(uint32(len(spec.GetNodes())))
	for _, n := range spec.GetNodes() {
		n = orEmpty(n)
		if len(n.Table) > 0 {
			c.uint32(2)
			c.bytes(n.Table)
		}
		optional(c, n.Op)
		optional(c, n.Type)
		c.uint32(uint32(len(n.Inputs)))
		for _, in := range n.Inputs {
			if r := in.GetResult(); r != 0 {
				c.uint32(4)
				c.uint32(r)
			}
			switch v := in.GetValue().(type) {
			case *tacitv1.Input_Handle:
				c.uint32(1)
				c.bytes(v.Handle)
			case *tacitv1.Input_Node:
				c.uint32(2)
				c.uint32(v.Node)
			case *tacitv1.Input_Scalar:
				c.uint32(3)
				c.bytes(trimZeros(v.Scalar))
			default:
				c.uint32(0)
			}
		}
		c.bytes(n.Result)
		c.bytes([]byte(n.Label))
	}
	c.uint32(uint32(len(spec.GetOutputs())))
	for _, o := range spec.GetOutputs() {
		o = orEmpty(o)
		if o.Result != 0 {
			c.uint32(2)
			c.uint32(o.Result)
		}
		optional(c, o.Node)
		c.bytes(o.Handle)
	}
	return c.sum()
}

// optional writes opt(v).
func optional[E ~int32 | ~uint32](c canonical, v *E) {
	if v == nil {
		c.uint32(0)
		return
	}
	c.uint32(1)
	c.uint32(uint32(*v))
}

// orEmpty returns m, or an empty message for nil, which is what nil means in protobuf.
func orEmpty[M any](m *M) *M {
	if m == nil {
		return new(M)
	}
	return m
}

// trimZeros returns a big-endian number without its leading zeros.
func trimZeros(b []byte) []byte {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) == 0 {
		return nil
	}
	return b
}

// expressionHandle derives the handle of a node from its expression: the key, the operation, the type of the result and
// the operands, where an operand that is computed stands as its own derived handle. It is told from a stored ciphertext with
// that handle: storing changes the bits of a ciphertext, and so of what is computed from it. Labels and client-chosen
// names do not count. It is a SHA-256 over
//
//	bytes("tacit/v1/expression-2") [bytes("strategy") u32(strategy)] bytes(key_id) u32(op) u32(type) u32(len operands) operand* [bytes(table)]
//	operand = u32(1) u32(type) bytes(handle) | u32(2) u32(type) bytes(scalar without leading zeros) | u32(3) u32(type) bytes(derived handle)
//
// in the notation of SpecDigest. All nodes that n depends on must have their handles.
func expressionHandle(g *Graph, n *Node) Handle {
	c := newCanonical(expressionDomain)
	c.strategy(g.strategy)
	c.bytes(g.keyID[:])
	c.uint32(uint32(n.Op))
	c.uint32(uint32(n.Type))
	c.uint32(uint32(len(n.Operands)))
	for _, o := range n.Operands {
		if o.Kind == Scalar {
			c.uint32(2)
			c.uint32(uint32(o.Type))
			c.bytes(o.Scalar)
			continue
		}
		h, kind := o.Handle, uint32(1)
		if o.Kind == Computed {
			h, kind = g.nodes[o.Node].ResultHandle(o.Result), 3
		}
		c.uint32(kind)
		c.uint32(uint32(o.Type))
		c.bytes(h[:])
	}
	if signatures[n.Op].tables {
		c.bytes(n.Table)
	}
	return c.sum()
}

// ResultHandle is the derived handle of result k: that of the node for the first, else a SHA-256 over
//
//	bytes("tacit/v1/expression-result") bytes(handle of the node) u32(k)
func (n Node) ResultHandle(k int) Handle {
	if k == 0 {
		return n.Handle
	}
	c := newCanonical(resultDomain)
	c.bytes(n.Handle[:])
	c.uint32(uint32(k))
	return c.sum()
}
