package coprocessor

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/receipt"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// TestEveryOperation runs each operation of the protocol in one job, with either
// strategy. The reports must be what the job was charged for.
func TestEveryOperation(t *testing.T) {
	s, _ := start(t)
	h := s.prepare(integer.Plain(integer.Uint8, 200), integer.Plain(integer.Uint8, 7), integer.Plain(integer.Bool, 1))
	statements := []struct{ text, want string }{
		{"add(a, b)", "euint8:207"}, {"sub(b, a)", "euint8:63"}, {"mul(a, b)", "euint8:120"}, {"div(a, b)", "euint8:28"},
		{"div(a, 9)", "euint8:22"}, {"rem(a, b)", "euint8:4"}, {"and(a, b)", "euint8:0"}, {"or(a, b)", "euint8:207"},
		{"xor(a, 255)", "euint8:55"}, {"shl(a, b)", "euint8:0"}, {"shr(a, 3)", "euint8:25"}, {"rotl(a, 1)", "euint8:145"},
		{"rotr(a, b)", "euint8:145"}, {"eq(a, b)", "ebool:false"}, {"ne(a, b)", "ebool:true"}, {"ge(a, b)", "ebool:true"},
		{"gt(b, a)", "ebool:false"}, {"le(b, 7)", "ebool:true"}, {"lt(a, b)", "ebool:false"}, {"min(a, b)", "euint8:7"},
		{"max(a, 201)", "euint8:201"}, {"eq(a, a)", "ebool:true"}, {"neg(b)", "euint8:249"}, {"not(a)", "euint8:55"}, {"select(c, a, b)", "euint8:200"},
		{"sum(a, b, b)", "euint8:214"}, {"is_in(b, a, 7)", "ebool:true"}, {"mul_div(a, b, 10)", "euint8:140"},
	}
	typed := []struct{ typ, text, want string }{
		{"euint16", "cast(a)", "euint16:200"}, {"euint256", "cast(a)", "euint256:200"}, {"ebool", "cast(b)", "ebool:true"},
		{"eaddress", "trivial_encrypt(0xffffffffffffffffffffffffffffffffffffffff)", "eaddress:1461501637330902918203684832716283019655932542975"},
	}
	twice := []struct{ text, want, second string }{
		{"div_rem(a, b)", "euint8:28", "euint8:4"}, {"div_rem(a, 9)", "euint8:22", "euint8:2"}, {"add_overflow(a, a)", "euint8:144", "ebool:true"},
		{"sub_overflow(a, b)", "euint8:193", "ebool:false"}, {"mul_overflow(a, b)", "euint8:120", "ebool:true"},
	}
	var parity, sums []string
	for x := range 256 {
		parity = append(parity, fmt.Sprint(x%2))
		sums = append(sums, fmt.Sprint(1000*(x>>4+x&15)))
	}
	typed = append(typed, []struct{ typ, text, want string }{
		{"ebool", "lookup(b, [" + strings.Join(parity, ",") + "])", "ebool:true"}, {"euint64", "lookup(c, [7, 0xffffffffffffffff])", "euint64:18446744073709551615"},
		{"euint16", "lookup2(a, b, [" + strings.Join(sums, ", ") + "])", "euint16:15000"}, {"euint16", "lookup2(a, 3, [" + strings.Join(sums, ",") + "])", "euint16:11000"},
	}...)
	for _, strategy := range []string{"throughput", "latency"} {
		t.Run(strategy, func(t *testing.T) {
			var text strings.Builder
			fmt.Fprintf(&text, "strategy %s\ninput a = 0x%s\ninput b = 0x%s\ninput c = 0x%s\n", strategy, h[0], h[1], h[2])
			var want, names []string
			for i, st := range statements {
				names = append(names, fmt.Sprintf("x%d", i))
				want = append(want, st.want)
				fmt.Fprintf(&text, "x%d = %s\n", i, st.text)
			}
			for i, st := range typed {
				names = append(names, fmt.Sprintf("y%d", i))
				want = append(want, st.want)
				fmt.Fprintf(&text, "y%d: %s = %s\n", i, st.typ, st.text)
			}
			for i, st := range twice {
				names = append(names, fmt.Sprintf("z%d", i), fmt.Sprintf("z%d.1", i))
				want = append(want, st.want, st.second)
				fmt.Fprintf(&text, "z%d = %s\n", i, st.text)
			}
			fmt.Fprintf(&text, "back = add(z0, z0.1)\neither = or(z2.1, z3.1)\n")
			names, want = append(names, "back", "either"), append(want, "euint8:32", "ebool:true")
			fmt.Fprintf(&text, "die: euint8 = rand_bounded(0x5eed, 8)\nsmall = lt(die, 8)\nr: euint64 = rand(0x5eed)\nrr: euint64 = rand(0x5eed)\nsame = eq(r, rr)\n")
			names, want = append(names, "small", "same"), append(want, "ebool:true", "ebool:true")
			job := s.run("every-"+strategy, spec(t, text.String()+"output "+strings.Join(names, ", ")))
			if job.State != tacitv1.JobState_JOB_STATE_SUCCEEDED {
				t.Fatalf("%v: %v", job.State, job.Error)
			}
			s.charged(s.charge(job), job)
			r, err := receipt.Decode(job.Receipt.GetContainer())
			if err != nil {
				t.Fatal(err)
			}
			if err := Recompute(t.Context(), r, s.audit(job.Id)); err != nil {
				t.Errorf("computed again: %v", err)
			}
			for i, r := range job.Results {
				if got := s.decrypt(r.Handle); got != want[i] {
					t.Errorf("%s: %s, want %s", names[i], got, want[i])
				}
			}
		})
	}
}

// charge is the graph of a job's spec, with what it should cost.
func (s *service) charge(job *tacitv1.Job) *graph.Graph {
	s.t.Helper()
	spec, err := s.CoprocessorClient.GetJobSpec(s.t.Context(), &tacitv1.GetJobSpecRequest{Id: job.Id})
	if err != nil {
		s.t.Fatal(err)
	}
	g, _, err := s.validate(s.t.Context(), spec)
	if err != nil {
		s.t.Fatal(err)
	}
	return g
}

// charged holds what every node of a job spent against what it should cost.
func (s *service) charged(g *graph.Graph, job *tacitv1.Job) {
	s.t.Helper()
	var total uint64
	for i, r := range job.Nodes {
		n := g.Node(i)
		total += r.Bootstraps
		want := graph.Cost{Bootstraps: n.Cost.Bootstraps, Depth: n.Cost.Depth}
		if r.SameAs != nil {
			want = graph.Cost{}
		}
		if got := (graph.Cost{Bootstraps: int(r.Bootstraps), Depth: int(r.Depth)}); n.Needed && got != want {
			s.t.Errorf("node %d, %s, spent %+v, the estimate is %+v", i, graph.OpName(n.Op), got, want)
		}
	}
	if job.EstimatedBootstraps != total || job.SpentBootstraps != total {
		s.t.Errorf("%d bootstraps in all, the estimate is %d, charged are %d", total, job.EstimatedBootstraps, job.SpentBootstraps)
	}
}

// TestCostOfRandomGraphs runs graphs whose operands are results of all kinds, clean
// or not, of the same job and of earlier ones. What they spend is what was
// estimated.
func TestCostOfRandomGraphs(t *testing.T) {
	s, _ := start(t)
	r := rand.New(rand.NewPCG(7, 7))
	bytes := s.prepare(integer.Plain(integer.Uint8, 200), integer.Plain(integer.Uint8, 7))
	bits := s.prepare(integer.Plain(integer.Bool, 1))
	two := []string{"add", "sub", "mul", "and", "xor", "min", "max", "shl", "rotr"}
	decide := []string{"lt", "ge", "eq", "ne"}
	for round := range 4 {
		var text strings.Builder
		var values, flags []string
		for i, h := range bytes {
			values = append(values, fmt.Sprintf("a%d", i))
			fmt.Fprintf(&text, "input a%d = 0x%s\n", i, h)
		}
		for i, h := range bits {
			flags = append(flags, fmt.Sprintf("b%d", i))
			fmt.Fprintf(&text, "input b%d = 0x%s\n", i, h)
		}
		pick := func(from []string) string { return from[r.IntN(len(from))] }
		if round%2 == 1 {
			text.WriteString("strategy latency\n")
		}
		seen := make(map[string]bool) // the same expression has the same handle
		for i := range 25 {
			x, y := pick(values), pick(values)
			name, statement := fmt.Sprintf("v%d", i), fmt.Sprintf("%s(%s, %s)", pick(two), x, y)
			into := &values
			switch r.IntN(6) {
			case 0:
				name, statement = fmt.Sprintf("c%d", i), fmt.Sprintf("%s(%s, %s)", pick(decide), x, y)
				into = &flags
			case 1:
				statement = fmt.Sprintf("select(%s, %s, %s)", pick(flags), x, y)
			case 2:
				statement = fmt.Sprintf("sum(%s, %s, %s)", x, y, pick(values))
			case 3:
				statement = fmt.Sprintf("%s(%s, %d)", pick(two), x, r.IntN(256))
			case 4:
				statement = fmt.Sprintf("not(%s)", x)
			}
			if !seen[statement] {
				seen[statement] = true
				fmt.Fprintf(&text, "%s = %s\n", name, statement)
				*into = append(*into, name)
			}
		}
		var out []string
		for _, name := range values[len(bytes):] {
			out = append(out, fmt.Sprintf("%s as 0x%x", name, named(fmt.Sprint(name, round))))
		}
		job := s.run(fmt.Sprintf("random-%d", round), spec(t, text.String()+"output "+strings.Join(out, ", ")))
		if job.State != tacitv1.JobState_JOB_STATE_SUCCEEDED {
			t.Fatalf("%v: %v\n%s", job.State, job.Error, text.String())
		}
		s.charged(s.charge(job), job)
		for _, i := range r.Perm(len(job.Results))[:3] {
			bytes = append(bytes, fmt.Sprintf("%x", job.Results[i].Handle))
		}
	}
}
