package graph

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func TestVectorTables(t *testing.T) {
	ints := []int64{0, 1, -1, math.MaxInt64, math.MinInt64}
	if d := cmp.Diff(ints, Integers(IntegerTable(ints...))); d != "" {
		t.Error(d)
	}
	reals := []float64{0, -0.5, 1e300, math.SmallestNonzeroFloat64, math.Pi}
	if d := cmp.Diff(reals, Reals(RealTable(reals...))); d != "" {
		t.Error(d)
	}
}

func TestVectorsRefused(t *testing.T) {
	const bgv, ckks = tacitv1.Type_TYPE_BGV, tacitv1.Type_TYPE_CKKS
	table := func(t tacitv1.Type, table []byte) *tacitv1.Node {
		n := node(tacitv1.Op_OP_MUL_PLAIN, stored(t, 1))
		n.Type, n.Table = t.Enum(), table
		return n
	}
	other := table(bgv, IntegerTable(1))
	other.Type = ckks.Enum()
	for what, test := range map[string]struct {
		node *tacitv1.Node
		want Reason
	}{
		"bgv and ckks":      {node(tacitv1.Op_OP_ADD, stored(bgv, 1), stored(ckks, 1)), TypeMismatch},
		"vector and euint8": {node(tacitv1.Op_OP_ADD, stored(bgv, 1), stored(euint8, 1)), TypeMismatch},
		"less than":         {node(tacitv1.Op_OP_LT, stored(bgv, 1), stored(bgv, 2)), TypeMismatch},
		"rescaled integer":  {node(tacitv1.Op_OP_RESCALE, stored(euint8, 1)), TypeMismatch},
		"odd table":         {table(bgv, []byte{1, 2, 3}), BadTable},
		"no table":          {table(bgv, nil), BadTable},
		"long table":        {table(bgv, make([]byte, 8*(MaxVector+1))), BadTable},
		"NaN":               {table(ckks, RealTable(1, math.NaN())), BadTable},
		"infinity":          {table(ckks, RealTable(math.Inf(1))), BadTable},
		"other type":        {other, TypeMismatch},
	} {
		var refused *Error
		if _, err := validate(specOf(test.node), DefaultLimits()); !errors.As(err, &refused) || refused.Reason != test.want {
			t.Errorf("%s: got %v, want %v", what, err, test.want)
		}
	}
	handle := "input x = 0x12" + strings.Repeat("0", 62) + "\n"
	for _, line := range []string{
		"y: ckks = mul_plain(x, [])", "y: ckks = mul_plain(x, [1, NaN])", "y: ckks = mul_plain(x, [1 2])", "y: ckks = mul_plain(x, [1, 2)",
		"y: ckks = mul_plain(x, [0x1p3])", "y: ckks = mul_plain(x, [Inf])", "y: bgv = mul_plain(x, [0.5])", "y: bgv = mul_plain(x, [9223372036854775808])",
		"y = mul_plain(x, [1])", "y: ckks = mul_plain(x, [1], [2])",
	} {
		if _, err := ParseText(handle+line+"\noutput y\n", nil); !errors.As(err, new(*SyntaxError)) {
			t.Errorf("%s: got %v, want a SyntaxError", line, err)
		}
	}
	spec, err := ParseText(handle+"y: ckks = mul_plain(x, [1, -2.5e-3 ]) # a comment\noutput y\n", nil)
	if err != nil || !proto.Equal(spec.Nodes[0], &tacitv1.Node{
		Op: tacitv1.Op_OP_MUL_PLAIN.Enum(), Type: ckks.Enum(), Label: "y", Inputs: spec.Nodes[0].Inputs, Table: RealTable(1, -2.5e-3),
	}) {
		t.Errorf("%v, %v", spec, err)
	}
}
