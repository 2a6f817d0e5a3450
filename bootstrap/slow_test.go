//go:build slow

package bootstrap

import (
	"math/rand/v2"
	"testing"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// TestEveryOperationTypeAndOperand runs every operation on values of every type, of
// 8 to 256 bits, with encrypted and with plaintext right operands and by either
// strategy, on real ciphertexts of the test preset.
func TestEveryOperationTypeAndOperand(t *testing.T) {
	f := load(t, fhe.TestPreset)
	b := NewBatcher(f.eval, 2)
	defer b.Close()
	eval, err := integer.New(f.params, b)
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []integer.Type{integer.Bool, integer.Uint8, integer.Uint16, integer.Uint32, integer.Uint64, integer.Uint128, integer.Address, integer.Uint256} {
		t.Run(typ.String(), func(t *testing.T) {
			for op := integer.Op(0); op.Valid(); op++ {
				types := operandTypes(op, typ)
				if types == nil {
					continue
				}
				t.Run(op.String(), func(t *testing.T) {
					rng := rand.New(rand.NewPCG(uint64(op), uint64(typ)))
					for _, s := range []integer.Strategy{integer.Throughput, integer.Latency} {
						f.checkOp(t, eval.Using(s), op, types, vector(rng, 0, types), false)
						if len(types) > 1 {
							f.checkOp(t, eval.Using(s), op, types, vector(rng, 0, types), true)
						}
					}
				})
			}
		})
	}
}

// TestEveryOperationOfTheDefaultPreset runs every operation at 8 bits, by either
// strategy, and at 64, with the parameters that services have.
func TestEveryOperationOfTheDefaultPreset(t *testing.T) {
	f := load(t, fhe.DefaultPreset)
	b := NewBatcher(f.eval, 2)
	defer b.Close()
	eval, err := integer.New(f.params, b)
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []integer.Type{integer.Bool, integer.Uint8, integer.Uint64} {
		t.Run(typ.String(), func(t *testing.T) {
			for op := integer.Op(0); op.Valid(); op++ {
				types := operandTypes(op, typ)
				if types == nil {
					continue
				}
				t.Run(op.String(), func(t *testing.T) {
					rng := rand.New(rand.NewPCG(uint64(op), uint64(typ)))
					f.checkOp(t, eval, op, types, vector(rng, 0, types), false)
					if typ == integer.Uint8 {
						f.checkOp(t, eval.Using(integer.Latency), op, types, vector(rng, 0, types), true)
					}
				})
			}
		})
	}
}
