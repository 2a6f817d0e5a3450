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

// Whoever has both secret keys makes the migration key; whoever has that moves vectors to the new key without reading them.
func ExampleMigrator() {
	p, err := leveled.ByName("bfv-13")
	if err != nil {
		log.Fatal(err)
	}
	old, err := leveled.GenerateKeys(p, leveled.KeySpec{Rotations: []int{}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	fresh, err := leveled.GenerateKeys(p, leveled.KeySpec{Rotations: []int{}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	key, err := leveled.NewMigrationKey(old.Secret, fresh.Secret)
	if err != nil {
		log.Fatal(err)
	}
	x, err := leveled.NewPublicEncryptor(old.Public).Integers([]int64{1, -2, 3})
	if err != nil {
		log.Fatal(err)
	}
	moved, err := leveled.NewMigrator(key).Migrate(x)
	if err != nil {
		log.Fatal(err)
	}
	values, err := leveled.NewDecryptor(fresh.Secret).Integers(moved)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(values, moved.KeyID() == fresh.Secret.ID())
	// Output: [1 -2 3] true
}
