package leveled_test

import (
	"fmt"
	"log"

	"github.com/tacit-fhe/tacit/fhe/leveled"
)

// Example multiplies two encrypted vectors and adds up the first four slots.
func Example() {
	p, err := leveled.ByName("bgv-13")
	if err != nil {
		log.Fatal(err)
	}
	keys, err := leveled.GenerateKeys(p, leveled.KeySpec{Rotations: []int{1, 2}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	enc, dec, eval := leveled.NewPublicEncryptor(keys.Public), leveled.NewDecryptor(keys.Secret), leveled.NewEvaluator(keys.Evaluation)
	x, err := enc.Integers([]int64{1, 2, 3, 4})
	if err != nil {
		log.Fatal(err)
	}
	y, err := enc.Integers([]int64{10, 20, 30, -40})
	if err != nil {
		log.Fatal(err)
	}
	product, err := eval.Mul(x, y)
	if err != nil {
		log.Fatal(err)
	}
	if product, err = eval.Rescale(product); err != nil {
		log.Fatal(err)
	}
	sum, err := eval.InnerSum(product, 4)
	if err != nil {
		log.Fatal(err)
	}
	values, err := dec.Integers(sum)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("inner product", values[0], "levels left", sum.Level())
	// Output: inner product -20 levels left 2
}
