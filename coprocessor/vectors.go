package coprocessor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"math/big"
	"math/bits"

	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/leveled"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// vectorType is the type of the vectors of a parameter set.
func vectorType(p *leveled.Parameters) tacitv1.Type {
	switch p.Scheme() {
	case leveled.BGV:
		return tacitv1.Type_TYPE_BGV
	case leveled.BFV:
		return tacitv1.Type_TYPE_BFV
	default:
		return tacitv1.Type_TYPE_CKKS
	}
}

// isVectorRecord says that a container holds vectors.
func isVectorRecord(data []byte) bool {
	h, err := codec.ReadHeader(bytes.NewReader(data))
	return err == nil && h.Kind == codec.LeveledCiphertexts
}

// storedVector decodes the record of a stored vector.
func storedVector(record []byte, h graph.Handle) (*leveled.Ciphertext, error) {
	list, err := leveled.UnmarshalCiphertexts(record, nil)
	if err != nil {
		return nil, fmt.Errorf("stored ciphertext %s: %w", h, err)
	}
	if len(list) != 1 {
		return nil, &store.DataLossError{Bucket: "ciphertexts", Key: h.String(), Detail: "the record does not hold one ciphertext"}
	}
	return list[0], nil
}

// vectorOps are the operations on vectors, or on what is known of them.
type vectorOps[V any] interface {
	Parameters() *leveled.Parameters
	Add(a, b V) (V, error)
	Sub(a, b V) (V, error)
	Mul(a, b V) (V, error)
	Neg(a V) (V, error)
	MulScalar(a V, k int64) (V, error)
	AddIntegers(a V, values []int64) (V, error)
	AddReals(a V, values []float64) (V, error)
	MulIntegers(a V, values []int64) (V, error)
	MulReals(a V, values []float64) (V, error)
	Rotate(a V, k int) (V, error)
	InnerSum(a V, n int) (V, error)
	Rescale(a V) (V, error)
	SwapRows(a V) (V, error)
	Polynomial(a V, f leveled.Polynomial) (V, error)
	Bootstrap(a V) (V, error)
}

// applyVector runs the operation of a node on vectors.
func applyVector[V any](e vectorOps[V], n graph.Node, operand func(graph.Operand) V) (result V, err error) {
	if n.Operands[0].Kind == graph.Scalar {
		return result, refuse(codes.InvalidArgument, "SCALAR_NOT_ALLOWED", "", "the first operand of %s is a plaintext", graph.OpName(n.Op))
	}
	a := operand(n.Operands[0])
	var k int64 // the plaintext operand, if there is one
	scalar := len(n.Operands) == 2 && n.Operands[1].Kind == graph.Scalar
	if scalar {
		x := new(big.Int).SetBytes(n.Operands[1].Scalar)
		if !x.IsInt64() {
			return result, refuse(codes.InvalidArgument, "SCALAR_RANGE", "", "%v is not below 2^63", x)
		}
		k = x.Int64()
	}
	p := e.Parameters()
	integers := p.Scheme().Integers()
	switch n.Op {
	case tacitv1.Op_OP_ADD, tacitv1.Op_OP_SUB:
		switch {
		case !scalar && n.Op == tacitv1.Op_OP_ADD:
			return e.Add(a, operand(n.Operands[1]))
		case !scalar:
			return e.Sub(a, operand(n.Operands[1]))
		}
		if n.Op == tacitv1.Op_OP_SUB {
			k = -k
		}
		if integers {
			return e.AddIntegers(a, all(p.Slots(), k%int64(p.PlaintextModulus())))
		}
		return e.AddReals(a, all(p.Slots(), float64(k)))
	case tacitv1.Op_OP_MUL:
		if scalar {
			return e.MulScalar(a, k)
		}
		return e.Mul(a, operand(n.Operands[1]))
	case tacitv1.Op_OP_NEG:
		return e.Neg(a)
	case tacitv1.Op_OP_ROTATE:
		return e.Rotate(a, int(k%int64(p.Row())))
	case tacitv1.Op_OP_INNER_SUM:
		return e.InnerSum(a, int(min(k, math.MaxInt32)))
	case tacitv1.Op_OP_RESCALE:
		return e.Rescale(a)
	case tacitv1.Op_OP_SWAP_ROWS:
		return e.SwapRows(a)
	case tacitv1.Op_OP_BOOTSTRAP:
		return e.Bootstrap(a)
	case tacitv1.Op_OP_ADD_PLAIN:
		if integers {
			return e.AddIntegers(a, graph.Integers(n.Table))
		}
		return e.AddReals(a, graph.Reals(n.Table))
	case tacitv1.Op_OP_MUL_PLAIN:
		if integers {
			return e.MulIntegers(a, graph.Integers(n.Table))
		}
		return e.MulReals(a, graph.Reals(n.Table))
	case tacitv1.Op_OP_POLYNOMIAL, tacitv1.Op_OP_CHEBYSHEV:
		return e.Polynomial(a, polynomialOf(n))
	}
	return result, refuse(codes.Unimplemented, "UNKNOWN_OP", "", "%s does not compute on vectors", graph.OpName(n.Op))
}

func all[T any](n int, v T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// polynomialOf is the polynomial in the table of a node; one that is not in order is refused where
// it is evaluated.
func polynomialOf(n graph.Node) leveled.Polynomial {
	values := graph.Reals(n.Table)
	if n.Op == tacitv1.Op_OP_POLYNOMIAL || len(values) < 2 {
		return leveled.Polynomial{Coeffs: values}
	}
	return leveled.Polynomial{Chebyshev: true, A: values[0], B: values[1], Coeffs: values[2:]}
}

// bootstrapSwitches stands for the key switches of a CKKS bootstrapping in costs.
const bootstrapSwitches = 256

// keySwitches is what an operation on vectors costs: how many key switches it takes, about, which are nearly all
// of its time.
func keySwitches(n graph.Node) int {
	k := 0
	if len(n.Operands) == 2 && n.Operands[1].Kind == graph.Scalar {
		k = int(new(big.Int).SetBytes(n.Operands[1].Scalar).Uint64() % graph.MaxVector)
	}
	switch n.Op {
	case tacitv1.Op_OP_MUL:
		if n.Operands[1].Kind != graph.Scalar {
			return 1
		}
	case tacitv1.Op_OP_SWAP_ROWS:
		return 1
	case tacitv1.Op_OP_ROTATE:
		return bits.OnesCount(uint(k))
	case tacitv1.Op_OP_INNER_SUM:
		return bits.Len(uint(k))
	case tacitv1.Op_OP_POLYNOMIAL, tacitv1.Op_OP_CHEBYSHEV:
		return int(2*math.Sqrt(float64(len(n.Table)/8))) + bits.Len(uint(len(n.Table)))
	case tacitv1.Op_OP_BOOTSTRAP:
		return bootstrapSwitches
	}
	return 0
}

// vectorEngine computes on vectors.
type vectorEngine struct {
	*leveled.Evaluator
	workers int
}

func newVectorEngine(r io.Reader, id fhe.KeyID, workers int) (*vectorEngine, error) {
	key, err := leveled.ReadEvaluationKey(r, nil)
	if err != nil {
		return nil, err
	}
	if got := key.ID(); got != id {
		return nil, fmt.Errorf("evaluation key %s has the digest %s", id, got)
	}
	return &vectorEngine{leveled.NewEvaluator(key), workers}, nil
}

func (e *vectorEngine) fingerprint() [32]byte      { return e.Parameters().Fingerprint() }
func (e *vectorEngine) size() int64                { return e.Key().MemoryBytes() }
func (e *vectorEngine) stats() (s bootstrap.Stats) { return s }
func (e *vectorEngine) parallel() int              { return e.workers }
func (e *vectorEngine) close()                     {}
func (e *vectorEngine) meter() *meter              { return new(meter) }

func (e *vectorEngine) decode(record []byte, h graph.Handle) (value, error) {
	return storedVector(record, h)
}

func (e *vectorEngine) apply(_ context.Context, _ *graph.Graph, n graph.Node, operand func(graph.Operand) value, m *meter) ([]value, error) {
	v, err := applyVector(e, n, func(o graph.Operand) *leveled.Ciphertext { return operand(o).(*leveled.Ciphertext) })
	if err != nil {
		return nil, err
	}
	m.keySwitches = keySwitches(n)
	return []value{v}, nil
}

func (e *vectorEngine) encode(v value) ([]byte, error) {
	return leveled.MarshalCiphertexts(v.(*leveled.Ciphertext))
}

// vectorEstimator predicts the noise of the vectors of one graph. Of ciphertexts that are not there yet nothing
// is known, nor of what is computed from them; the engine refuses then what it has to.
type vectorEstimator struct {
	params  *leveled.Parameters // of the first stored vector
	inputs  map[graph.Handle]*leveled.Noise
	results map[int]*leveled.Noise // of nodes
}

func newVectorEstimator() vectorEstimator {
	return vectorEstimator{inputs: make(map[graph.Handle]*leveled.Noise), results: make(map[int]*leveled.Noise)}
}

// stored takes note of a stored vector and describes it to package graph.
func (e *vectorEstimator) stored(h graph.Handle, record []byte) (graph.Ciphertext, error) {
	c, err := storedVector(record, h)
	if err != nil {
		return graph.Ciphertext{}, err
	}
	if e.params == nil {
		e.params = c.Parameters()
	}
	if c.Parameters() == e.params { // others are of another key
		n := c.Noise()
		e.inputs[h] = &n
	}
	return graph.Ciphertext{Type: vectorType(c.Parameters()), KeyID: c.KeyID()}, nil
}

// cost is a graph.CostFunc for nodes of vectors.
func (e *vectorEstimator) cost(i int, n graph.Node) (graph.Cost, error) {
	work := keySwitches(n)
	spent := graph.Cost{Bootstraps: work, Depth: work}
	known := e.params != nil
	if known {
		spent.Result = e.params.CiphertextMemory()
		spent.Working = int64(workingVectors(n)) * spent.Result
	}
	operand := func(o graph.Operand) *leveled.Noise {
		if o.Kind == graph.Computed {
			return e.results[o.Node]
		}
		return e.inputs[o.Handle]
	}
	for _, o := range n.Operands {
		known = known && (o.Kind == graph.Scalar || operand(o) != nil)
	}
	if !known {
		return spent, nil
	}
	noise, err := applyVector(leveled.NewPredictor(e.params), n, func(o graph.Operand) leveled.Noise { return *operand(o) })
	if err != nil {
		return graph.Cost{}, faultOf(err).at(fmt.Sprintf("nodes[%d]", i))
	}
	e.results[i] = &noise
	return spent, nil
}

// workingVectors is about how many vectors an operation has in memory besides its operands
// and result: of a polynomial the powers, also of the one of a bootstrapping.
func workingVectors(n graph.Node) int {
	switch n.Op {
	case tacitv1.Op_OP_POLYNOMIAL, tacitv1.Op_OP_CHEBYSHEV:
		return 4 + keySwitches(n)
	case tacitv1.Op_OP_BOOTSTRAP:
		return 20
	}
	return 4
}

// vectorFault classifies the errors of package leveled, none of which goes away.
func vectorFault(err error) *fault {
	switch e := err.(type) {
	case *leveled.BudgetError:
		return refuse(codes.FailedPrecondition, "NOISE_BOUND", "", "%v", e)
	case *leveled.LevelError:
		return refuse(codes.FailedPrecondition, "NO_LEVEL", "", "%v", e)
	case *leveled.ScaleError:
		return refuse(codes.FailedPrecondition, "SCALE_MISMATCH", "", "%v", e)
	case *leveled.SchemeError:
		return refuse(codes.InvalidArgument, "TYPE_MISMATCH", "", "%v", e)
	case *leveled.ValueError:
		return refuse(codes.InvalidArgument, "SCALAR_RANGE", "", "%v", e)
	case *leveled.MissingKeyError:
		return refuse(codes.FailedPrecondition, "KEY_LACKS_PART", "", "%v", e)
	case *leveled.MismatchError:
		return refuse(codes.FailedPrecondition, "PARAMETERS_MISMATCH", "", "%v", e)
	case *leveled.UnknownError:
		return refuse(codes.FailedPrecondition, "PARAMETERS_MISMATCH", "fingerprint", "%v", e)
	}
	if u, ok := err.(interface{ Unwrap() error }); ok {
		if inner := u.Unwrap(); inner != nil {
			return vectorFault(inner)
		}
	}
	return nil
}
