package ops

import (
	"fmt"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// Budget holds what an operation costs against what it may cost at most. Budgets
// are bootstraps by the strategy that spends the fewest; for additions there is
// also one for the depth by the other.
type Budget struct {
	Op         string `json:"op"`
	Operands   string `json:"operands"`
	Type       string `json:"type"`
	Bootstraps int    `json:"bootstraps"`      // at most
	Depth      int    `json:"depth,omitempty"` // at most, with the strategy of least depth; 0 for no budget
	Throughput Cost   `json:"throughput"`
	Latency    Cost   `json:"latency"`
	// Note explains what is over the budget.
	Note string `json:"note,omitempty"`
}

// Met says that the operation is within its budget.
func (b Budget) Met() bool {
	return b.Throughput.Bootstraps <= b.Bootstraps && (b.Depth == 0 || b.Latency.Depth <= b.Depth)
}

// selectNorm is the squared norm of what a select bootstraps, 7c + a - b.
const selectNorm = 7*7 + 1 + 1

// selectNote is why a select takes one bootstrap more than it has blocks.
const selectNote = "the parameters have room for a squared norm of %.0f, and 7c + a - b has %d: one bootstrap scales c for all blocks"

// budgets are of 64 bits and encrypted operands unless they say otherwise. They are
// the goals that the package was written for.
var budgets = []struct {
	op         integer.Op
	t          integer.Type
	plain      bool
	bootstraps int
	depth      int
}{
	{integer.OpAdd, integer.Uint64, false, 32, 8}, {integer.OpSub, integer.Uint64, false, 32, 8},
	{integer.OpAdd, integer.Uint64, true, 32, 8}, {integer.OpSub, integer.Uint64, true, 32, 8},
	{integer.OpLt, integer.Uint64, false, 25, 0}, {integer.OpLe, integer.Uint64, false, 25, 0},
	{integer.OpGt, integer.Uint64, false, 25, 0}, {integer.OpGe, integer.Uint64, false, 25, 0},
	{integer.OpLt, integer.Uint64, true, 20, 0}, {integer.OpGe, integer.Uint64, true, 20, 0},
	{integer.OpEq, integer.Uint64, false, 18, 0}, {integer.OpNe, integer.Uint64, false, 18, 0},
	{integer.OpAnd, integer.Uint64, false, 32, 0}, {integer.OpOr, integer.Uint64, false, 32, 0},
	{integer.OpXor, integer.Uint64, false, 32, 0}, {integer.OpNot, integer.Uint64, false, 0, 0},
	{integer.OpSelect, integer.Uint64, false, 32, 0},
	{integer.OpMin, integer.Uint64, false, 60, 0}, {integer.OpMax, integer.Uint64, false, 60, 0},
	{integer.OpShl, integer.Uint64, false, 180, 0}, {integer.OpShr, integer.Uint64, false, 180, 0},
	{integer.OpRotl, integer.Uint64, false, 180, 0}, {integer.OpRotr, integer.Uint64, false, 180, 0},
	{integer.OpMul, integer.Uint64, false, 1200, 0}, {integer.OpDivRem, integer.Uint32, false, 1300, 0},
}

const (
	transfer       = "transfer" // ge, select, sub and add
	transferBudget = 121
)

// Budgets returns all budgets with what they are budgets of.
func Budgets(p *fhe.Parameters) ([]Budget, error) {
	eval, err := integer.New(p, nil)
	if err != nil {
		return nil, err
	}
	var out []Budget
	both := func(b Budget, cost func(*integer.Evaluator) (integer.Cost, error)) error {
		for s, to := range map[integer.Strategy]*Cost{integer.Throughput: &b.Throughput, integer.Latency: &b.Latency} {
			c, err := cost(eval.Using(s))
			if err != nil {
				return fmt.Errorf("%s %s: %w", b.Op, b.Type, err)
			}
			*to = Cost(c)
		}
		if room := p.MaxVariance() / p.BootstrapVariance(); !b.Met() && room < selectNorm {
			b.Note = fmt.Sprintf(selectNote, room, selectNorm)
		}
		out = append(out, b)
		return nil
	}
	for _, b := range budgets {
		in, _ := operands(b.op, b.t, b.plain)
		of := row(b.op, b.t, integer.Throughput, b.plain, integer.Cost{})
		err := both(Budget{Op: of.Op, Operands: of.Operands, Type: of.Type, Bootstraps: b.bootstraps, Depth: b.depth},
			func(e *integer.Evaluator) (integer.Cost, error) { return e.Cost(b.op, in...) })
		if err != nil {
			return nil, err
		}
	}
	err = both(Budget{Op: transfer, Operands: "encrypted", Type: integer.Uint64.String(), Bootstraps: transferBudget}, transferCost)
	return out, err
}

// transferCost is what a confidential transfer costs: the amount moves if the
// balance covers it. The subtraction and the addition run at the same time.
func transferCost(e *integer.Evaluator) (total integer.Cost, err error) {
	var values [3]*integer.Value // from, to, amount
	for i := range values {
		if values[i], err = e.Outline(integer.Uint64, [32]byte{byte(i)}, nil); err != nil {
			return total, err
		}
	}
	estimate := func(op integer.Op, in ...integer.Operand) (out *integer.Value, c integer.Cost) {
		results, c, _, failed := e.Estimate(op, in...)
		if failed != nil {
			err = failed
			return values[0], c
		}
		total.Bootstraps += c.Bootstraps
		return results[0], c
	}
	ok, covers := estimate(integer.OpGe, values[0], values[2])
	moved, selects := estimate(integer.OpSelect, ok, values[2], integer.Plain(integer.Uint64, 0))
	_, subtracts := estimate(integer.OpSub, values[0], moved)
	_, adds := estimate(integer.OpAdd, values[1], moved)
	total.Depth = covers.Depth + selects.Depth + max(subtracts.Depth, adds.Depth)
	return total, err
}

// budgetTable writes the budgets as a table.
func (p *printer) budgetTable(budgets []Budget) {
	p.printf("| operation | operands | type | budget | throughput: bootstraps | depth | latency: bootstraps | depth | |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, b := range budgets {
		verdict, most := "met", fmt.Sprint(b.Bootstraps)
		if b.Depth > 0 {
			most += fmt.Sprintf(", depth %d", b.Depth)
		}
		if !b.Met() {
			verdict = "over: " + b.Note
		}
		p.printf("| %s | %s | %s | %s | %d | %d | %d | %d | %s |\n", b.Op, b.Operands, b.Type, most,
			b.Throughput.Bootstraps, b.Throughput.Depth, b.Latency.Bootstraps, b.Latency.Depth, verdict)
	}
}
