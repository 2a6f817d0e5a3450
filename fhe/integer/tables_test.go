package integer

import (
	"fmt"
	"math/big"
	"reflect"
	"testing"
	"unsafe"

	"github.com/tacit-fhe/tacit/fhe"
)

// all lists the tables of an evaluator by their names.
func (t *tables) all() map[string]*fhe.LUT {
	out := make(map[string]*fhe.LUT)
	var walk func(name string, v reflect.Value)
	walk = func(name string, v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				out[name] = (*fhe.LUT)(unsafe.Pointer(v.Pointer()))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				walk(name+"."+v.Type().Field(i).Name, v.Field(i))
			}
		case reflect.Array:
			for i := range v.Len() {
				walk(fmt.Sprintf("%s[%d]", name, i), v.Index(i))
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				walk(fmt.Sprintf("%s[%v]", name, Op(k.Uint())), v.MapIndex(k))
			}
		}
	}
	walk("", reflect.ValueOf(*t))
	return out
}

// Every table of every parameter set meets the failure bound on the noisiest input
// that any operation has for it, clean operands or not, and there is such an input.
func TestEveryTable(t *testing.T) {
	for _, name := range fhe.PresetNames() {
		p := preset(t, name)
		if p.Literal().TestOnly || p.Literal().MessageBits != blockBits {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, m := newMock(t, p)
			x := []*big.Int{big.NewInt(0x12ffb7), big.NewInt(0x3fc06e), big.NewInt(0x7351d), big.NewInt(0x12ffb7), big.NewInt(1), big.NewInt(2), big.NewInt(3), big.NewInt(5)}
			for op := range opCount {
				for _, typ := range []Type{Bool, Uint8, Uint32} {
					for _, types := range shapes(op, typ) {
						for kinds := range 1 << min(len(types), 3) {
							if typ == Uint32 && kinds&1 == 0 {
								continue
							}
							for turn, s := range strategies {
								var y []*big.Int
								for i, typ := range types {
									y = append(y, wrap(typ, x[(i+turn)%len(x)]))
								}
								if _, err := e.Using(s).ApplyAll(ctx, op, m.operands(op, types, kinds|0xf8, y)...); err != nil {
									t.Fatal(err)
								}
							}
						}
					}
				}
			}
			// What does not come up by itself: carries that can only come from high up, and
			// a condition that has to be scaled.
			for k := range 16 {
				if _, err := e.Using(Latency).Add(ctx, m.encrypt(Uint32, 9), Plain(Uint32, 1<<(2*k))); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := e.Select(ctx, m.encrypt(Bool, 1), m.encrypt(Uint8, 7), m.noisy(Uint8, big.NewInt(9), 20)); err != nil {
				t.Fatal(err)
			}
			for name, lut := range e.tables.all() {
				variance, used := m.byTable[lut]
				if pf := p.FailureProbability(variance); !used || pf > fhe.MaxFailureLog2 {
					t.Errorf("%s: used %v, failure probability 2^%.2f", name, used, pf)
				}
			}
		})
	}
}
