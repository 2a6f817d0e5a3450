package ptx

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"
)

// wrap makes a kernel with a pointer and a number as parameters of some lines.
func wrap(lines string) string {
	return ".version 7.0\n.visible .entry k(\n\t.param .u64 k_param_0,\n\t.param .u64 k_param_1\n)\n.maxntid 128, 1, 1\n{\n" + lines + "\n}\n"
}

// run runs a kernel of so many threads over 256 words and returns them.
func run(t *testing.T, lines string, blocks, threads int, number uint64) ([256]uint64, error) {
	t.Helper()
	m, err := Parse(wrap(lines))
	if err != nil {
		t.Fatal(err)
	}
	var mem Memory
	address := mem.Alloc(256 * 8)
	err = m.Launch(&mem, "k", blocks, threads, 1024, address, number)
	data, _ := mem.Bytes(address, 256*8)
	var words [256]uint64
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(data[8*i:])
	}
	return words, err
}

// head puts the thread's number into %r1 and its word's address into %rd3.
const head = `	.reg .b64 %rd<9>;
	ld.param.u64 	%rd1, [k_param_0];
	ld.param.u64 	%rd2, [k_param_1];
	mov.u32 	%r1, %tid.x;
	mul.wide.u32 	%rd4, %r1, 8;
	add.s64 	%rd3, %rd1, %rd4;
`

func TestInstructions(t *testing.T) {
	f := func(x float64) uint64 { return math.Float64bits(x) }
	minus := func(x int64) uint64 { return uint64(x) }
	for _, c := range []struct {
		line string // computes %rd5 from %rd2
		in   uint64
		want uint64
	}{
		{"add.s64 %rd5, %rd2, -1;", 0, ^uint64(0)},
		{"sub.s64 %rd5, %rd2, 7;", 5, minus(-2)},
		{"mul.lo.s64 %rd5, %rd2, 3;", minus(-2), minus(-6)},
		{"mul.hi.u64 %rd5, %rd2, %rd2;", 1 << 63, 1 << 62},
		{"mul.wide.s32 %rd5, -3, 5;", 0, minus(-15)},
		{"mad.lo.s64 %rd5, %rd2, %rd2, 1;", 9, 82},
		{"div.u64 %rd5, %rd2, 10;", 99, 9},
		{"div.s64 %rd5, %rd2, 10;", minus(-99), minus(-9)},
		{"rem.u64 %rd5, %rd2, 10;", 99, 9},
		{"shl.b64 %rd5, %rd2, 64;", 1, 0},
		{"shr.s64 %rd5, %rd2, 70;", minus(-1), minus(-1)},
		{"shr.u64 %rd5, %rd2, 63;", minus(-1), 1},
		{"shr.u32 %rd5, %rd2, 31;", 1<<40 | 1<<31, 1},
		{"shr.s32 %rd5, %rd2, 31;", 1 << 31, 0xffffffff},
		{"add.s32 %rd5, %rd2, 1;", 0xffffffff, 0},
		{"neg.s32 %rd5, %rd2;", 1, 0xffffffff},
		{"neg.s64 %rd5, %rd2;", 1, minus(-1)},
		{"abs.s64 %rd5, %rd2;", minus(-5), 5},
		{"not.b64 %rd5, %rd2;", 5, ^uint64(5)},
		{"and.b32 %rd5, %rd2, -1;", 1<<32 | 3, 3},
		{"brev.b32 %rd5, %rd2;", 1, 1 << 31},
		{"min.u64 %rd5, %rd2, 3;", minus(-1), 3},
		{"max.u64 %rd5, %rd2, 3;", minus(-1), minus(-1)},
		{"cvt.u64.u32 %rd5, %rd2;", 1<<32 | 3, 3},
		{"cvt.s64.s32 %rd5, %rd2;", 1 << 31, minus(-1 << 31)},
		{"cvt.rzi.s64.f64 %rd5, %rd2;", f(-2.9), minus(-2)},
		{"add.rn.f64 %rd5, %rd2, 0d3FF0000000000000;", f(2), f(3)},
		{"sub.rn.f64 %rd5, %rd2, 0d3FF0000000000000;", f(2), f(1)},
		{"mul.rn.f64 %rd5, %rd2, %rd2;", f(3), f(9)},
		{"neg.f64 %rd5, %rd2;", f(3), f(-3)},
		{"rcp.rn.f64 %rd5, %rd2;", f(3), f(1 / 3.0)},
		// (1+2^-30)^2 - 1 - 2^-29 is 2^-60, which two roundings would lose.
		{"fma.rn.f64 %rd5, %rd2, %rd2, 0dBFF0000000800000;", f(1 + 0x1p-30), f(0x1p-60)},
		{"setp.lt.s64 %p1, %rd2, 0;\n\tselp.b64 %rd5, 1, 2, %p1;", minus(-1), 1},
		{"setp.lt.u64 %p1, %rd2, 5;\n\tselp.b64 %rd5, 1, 2, %p1;", minus(-1), 2},
		{"setp.ge.u32 %p1, %rd2, 5;\n\tnot.pred %p2, %p1;\n\tselp.b64 %rd5, 1, 2, %p2;", 5, 2},
		{"setp.gt.f64 %p1, %rd2, 0d0000000000000000;\n\tselp.f64 %rd5, 1, 2, %p1;", f(math.NaN()), 2},
		{"setp.ne.s32 %p1, %rd2, 4;\n\tmov.pred %p2, %p1;\n\tselp.b32 %rd5, 1, 2, %p2;", 1<<32 | 4, 2},
		{"setp.le.s32 %p1, %rd2, 4;\n\tsetp.eq.s64 %p2, %rd2, 4;\n\txor.pred %p3, %p1, %p2;\n\tselp.b32 %rd5, 1, 2, %p3;", 4, 2},
	} {
		words, err := run(t, head+"\t"+c.line+"\n\tst.global.u64 [%rd3], %rd5;\n\tret;", 1, 1, c.in)
		if err != nil || words[0] != c.want {
			t.Errorf("%s of %#x: %#x, %v, want %#x", c.line, c.in, words[0], err, c.want)
		}
	}
}

// Every thread counts to its own number, so all leave the loop at another time and
// meet again behind it.
func TestDivergence(t *testing.T) {
	words, err := run(t, head+`
	mov.u32 	%r2, 0;
$L_loop:
	setp.ge.u32 	%p1, %r2, %r1;
	@%p1 bra 	$L_end;
	add.s32 	%r2, %r2, 1;
	bra.uni 	$L_loop;
$L_end:
	bar.sync 	0;
	cvt.u64.u32 	%rd5, %r2;
	st.global.u64 	[%rd3], %rd5;
	ret;`, 1, 70, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(70) {
		if words[i] != i {
			t.Errorf("thread %d counted to %d", i, words[i])
		}
	}
}

// Threads pass numbers on through shared memory, and all blocks add to one word.
func TestSharedMemoryAndAtomics(t *testing.T) {
	words, err := run(t, head+`
	mov.b64 	%rd6, memory;
	shl.b32 	%r3, %r1, 3;
	cvt.u64.u32 	%rd7, %r3;
	add.s64 	%rd6, %rd6, %rd7;
	cvt.u64.u32 	%rd5, %r1;
	st.shared.u64 	[%rd6], %rd5;
	bar.sync 	0;
	xor.b64 	%rd6, %rd6, 8;
	ld.shared.u32 	%r4, [%rd6];
	mov.u32 	%r5, %ctaid.x;
	mov.u32 	%r6, %nctaid.x;
	mad.lo.s32 	%r4, %r5, %r6, %r4;
	atom.global.add.u32 	%r7, [%rd1+8], %r4;
	ret;`, 3, 128, 0)
	// 3 blocks: 3*(0+...+127) and 128*3*(0+1+2); the buffer began as 0xa5a5...
	var first uint32 = 0xa5a5a5a5
	if want := first + 3*127*64 + 128*9; err != nil || uint32(words[1]) != want {
		t.Errorf("sum %d, %v, want %d", uint32(words[1]), err, want)
	}
}

func TestFindsMistakes(t *testing.T) {
	for _, c := range []struct{ name, lines, want string }{
		{"global, behind the end", head + "\tst.global.u64 [%rd1+2048], %rd2;\n\tret;", "outside of all buffers"},
		{"global, before the beginning", head + "\tld.global.u64 %rd5, [%rd1+-8];\n\tret;", "outside of all buffers"},
		{"misaligned", head + "\tld.global.u64 %rd5, [%rd1+4];\n\tret;", "not a multiple"},
		{"shared, behind the end", head + "\tst.shared.u64 [memory+1024], %rd2;\n\tret;", "shared memory"},
		{"write and write", head + "\tst.shared.u64 [memory], %rd2;\n\tret;", "race: thread 0 wrote"},
		{"write and read", head + "\tsetp.eq.s32 %p1, %r1, 40;\n\t@%p1 st.shared.u64 [memory], %rd2;\n\tld.shared.u64 %rd5, [memory];\n\tret;", "race"},
		{"write by two in global memory", head + "\tst.global.u64 [%rd1], %rd2;\n\tret;", "race: thread 0 of the grid"},
		{"barrier for some", head + "\tsetp.eq.s32 %p1, %r1, 40;\n\t@%p1 bra $L_end;\n\tbar.sync 0;\n$L_end:\n\tret;", "passed by"},
		{"different barriers", head + "\tsetp.eq.s32 %p1, %r1, 40;\n\t@%p1 bra $L_other;\n\tbar.sync 0;\n\tret;\n$L_other:\n\tbar.sync 0;\n\tret;", "different barriers"},
	} {
		if _, err := run(t, c.lines, 2, 64, 0); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	for _, lines := range []string{"\tfrobnicate.b64 %rd1, %rd2;", "\tst.local.u64 [%rd1], %rd2;", "\tadd.s64 %rd1, %rd2, x;", "\tbra $nowhere;", "\tld.param.u64 %rd1, [other];", "\tbar.sync 1;", "add"} {
		if _, err := Parse(wrap(lines)); err == nil {
			t.Errorf("%q was parsed", lines)
		}
	}
	if _, err := Parse(""); err == nil {
		t.Error("an empty text was parsed")
	}
	m, err := Parse(wrap("\tret;"))
	if err != nil {
		t.Fatal(err)
	}
	var mem Memory
	for name, err := range map[string]error{
		"unknown kernel":   m.Launch(&mem, "x", 1, 1, 0),
		"parameters":       m.Launch(&mem, "k", 1, 1, 0, 1),
		"too many threads": m.Launch(&mem, "k", 1, 129, 0, 1, 2),
		"free of nothing":  mem.Free(7),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
