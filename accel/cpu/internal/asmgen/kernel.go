package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

type (
	vec = VecVirtual
	gp  = GPVirtual
)

// kernel starts a function whose arguments do not escape.
func kernel(name, signature string) {
	TEXT(name, NOSPLIT, signature)
	Pragma("noescape")
}

// strided addresses the 8 or 4 elements of a group that lie stride bytes apart.
type strided struct{ base, base4, stride, stride3 gp }

func newStrided(base, stride gp, radix int) strided {
	s := strided{base: base, stride: stride, stride3: GP64()}
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, s.stride3)
	if radix == 8 {
		s.base4 = GP64()
		s.upper()
	}
	return s
}

// upper sets the address of element 4 from that of element 0.
func (s strided) upper() { LEAQ(Mem{Base: s.base, Index: s.stride, Scale: 4}, s.base4) }

func (s strided) at(k int) Mem {
	m := Mem{Base: s.base}
	if k >= 4 {
		m.Base = s.base4
	}
	switch k % 4 {
	case 1:
		m.Index, m.Scale = s.stride, 1
	case 2:
		m.Index, m.Scale = s.stride, 2
	case 3:
		m.Index, m.Scale = s.stride3, 1
	}
	return m
}

// prefetch asks for the next lines of the key, and moves on by step bytes.
type prefetch struct{ at, step gp }

func loadPrefetch() prefetch {
	return prefetch{Load(Param("next"), GP64()).(gp), Load(Param("step"), GP64()).(gp)}
}

func (p prefetch) lines(n int) {
	for i := range n {
		PREFETCHT1(Mem{Base: p.at, Disp: 64 * i})
	}
	ADDQ(p.step, p.at)
}

// passSignature is the signature of a pass kernel on words of the given type.
func passSignature(word string) string {
	return fmt.Sprintf("func(a, tw *%[1]s, blocks, stride int, c, next *%[1]s, step int)", word)
}

// passLoop runs the body of a pass kernel, whose parameters are a, tw, blocks, stride,
// c, next and step, for each group of columns: there are blocks of radix*stride words, and
// a group is width bytes wide. The table of twiddles moves on by perBlock bytes with each
// block; within a block, perColumn bytes with each group.
func passLoop[C any](radix, width, perBlock, perColumn int, load func() C, body func(c C, s strided, tw gp)) {
	a := Load(Param("a"), GP64()).(gp)
	tw := Load(Param("tw"), GP64()).(gp)
	blocks := Load(Param("blocks"), GP64()).(gp)
	stride := Load(Param("stride"), GP64()).(gp)
	c := load()
	pf := loadPrefetch()
	SHLQ(Imm(3), stride)
	s := newStrided(a, stride, radix)
	column, table := GP64(), GP64()
	Label("block")
	MOVQ(stride, column)
	MOVQ(tw, table)
	Label("column")
	pf.lines(radix * width / 128)
	if radix == 8 {
		s.upper()
	}
	body(c, s, table)
	ADDQ(Imm(uint64(width)), a)
	if perColumn != 0 {
		ADDQ(U32(uint32(perColumn)), table)
	}
	SUBQ(Imm(uint64(width)), column)
	JNZ(LabelRef("column"))
	// The columns moved a on by one stride.
	if radix == 8 {
		LEAQ(Mem{Base: a, Index: stride, Scale: 4}, a)
	}
	ADDQ(s.stride3, a)
	if perBlock != 0 {
		ADDQ(U32(uint32(perBlock)), tw)
	}
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}
