package coprocessor

import (
	"fmt"
	"strings"
	"testing"

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
		{"max(a, 201)", "euint8:201"}, {"neg(b)", "euint8:249"}, {"not(a)", "euint8:55"}, {"select(c, a, b)", "euint8:200"},
		{"sum(a, b, b)", "euint8:214"}, {"is_in(b, a, 7)", "ebool:true"}, {"mul_div(a, b, 10)", "euint8:140"},
	}
	typed := []struct{ typ, text, want string }{
		{"euint16", "cast(a)", "euint16:200"}, {"euint256", "cast(a)", "euint256:200"}, {"ebool", "cast(b)", "ebool:true"},
		{"eaddress", "trivial_encrypt(0xffffffffffffffffffffffffffffffffffffffff)", "eaddress:1461501637330902918203684832716283019655932542975"},
	}
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
			fmt.Fprintf(&text, "die: euint8 = rand_bounded(0x5eed, 8)\nsmall = lt(die, 8)\nr: euint64 = rand(0x5eed)\nrr: euint64 = rand(0x5eed)\nsame = eq(r, rr)\n")
			names, want = append(names, "small", "same"), append(want, "ebool:true", "ebool:true")
			job := s.run("every-"+strategy, spec(t, text.String()+"output "+strings.Join(names, ", ")))
			if job.State != tacitv1.JobState_JOB_STATE_SUCCEEDED {
				t.Fatalf("%v: %v", job.State, job.Error)
			}
			for i, r := range job.Results {
				if got := s.decrypt(r.Handle); got != want[i] {
					t.Errorf("%s: %s, want %s", names[i], got, want[i])
				}
			}
		})
	}
}
