package workloads_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/bench/workloads"
	"github.com/tacit-fhe/tacit/bench/workloads/aes"
	"github.com/tacit-fhe/tacit/bench/workloads/parity"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// party is both sides of the examples: a client with a secret key, and a server
// with an evaluator that knows the evaluation key alone.
type party struct {
	params *fhe.Parameters
	secret *fhe.SecretKey
	server *bootstrap.Batcher
	eval   *integer.Evaluator
}

// newParty makes keys of the parameters for tests, which protect nothing and let the
// examples run in moments. Programs take fhe.DefaultPreset.
func newParty() *party {
	p, err := fhe.Preset(fhe.TestPreset)
	check(err)
	backend, err := cpu.New()
	check(err)
	keys, err := fhe.GenerateKeys(context.Background(), p, fhe.NewSeed(), backend, nil)
	check(err)
	engine, err := bootstrap.NewEvaluator(keys.Evaluation, backend)
	check(err)
	server := bootstrap.NewBatcher(engine, 2)
	eval, err := integer.New(p, server)
	check(err)
	return &party{p, keys.Secret, server, eval}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func (p *party) encrypt(t integer.Type, plaintexts ...uint64) []*integer.Value {
	var scalars []integer.Scalar
	for _, x := range plaintexts {
		scalars = append(scalars, integer.Plain(t, x))
	}
	list, err := integer.Encrypt(p.params, p.secret.ID(), p.secret, fhe.NewSeed(), scalars...)
	check(err)
	var out []*integer.Value
	for i := range list.Len() {
		out = append(out, list.Value(i))
	}
	return out
}

func (p *party) decrypt(v *integer.Value) integer.Scalar { return integer.Decrypt(p.secret, v) }

func ExampleTransfer() {
	p := newParty()
	defer p.server.Close()
	v := p.encrypt(integer.Uint64, 1000, 250, 300)
	from, to, ok, err := workloads.Transfer(context.Background(), p.eval, v[0], v[1], v[2])
	check(err)
	fmt.Println(p.decrypt(ok), p.decrypt(from), p.decrypt(to))

	v = p.encrypt(integer.Uint64, 1000, 250, 1001)
	from, to, ok, err = workloads.Transfer(context.Background(), p.eval, v[0], v[1], v[2])
	check(err)
	fmt.Println(p.decrypt(ok), p.decrypt(from), p.decrypt(to))
	// Output:
	// ebool:true euint64:700 euint64:550
	// ebool:false euint64:1000 euint64:250
}

func ExampleAuction() {
	p := newParty()
	defer p.server.Close()
	bids := p.encrypt(integer.Uint32, 1200, 990, 4100, 4100, 7)
	highest, winner, err := workloads.Auction(context.Background(), p.eval, bids)
	check(err)
	fmt.Println(p.decrypt(highest), p.decrypt(winner))
	// Output: euint32:4100 euint8:2
}

func ExampleTally() {
	p := newParty()
	defer p.server.Close()
	ballots := p.encrypt(integer.Bool, 1, 0, 1, 1, 0, 1, 0, 1, 1)
	yes, err := workloads.Tally(context.Background(), p.eval, ballots)
	check(err)
	fmt.Println(p.decrypt(yes))
	// Output: euint16:6
}

func ExampleMedianOfFive() {
	p := newParty()
	defer p.server.Close()
	v := p.encrypt(integer.Uint16, 310, 42, 65535, 311, 7)
	median, err := workloads.MedianOfFive(context.Background(), p.eval, [5]*integer.Value(v))
	check(err)
	fmt.Println(p.decrypt(median))
	// Output: euint16:310
}

// The block of FIPS 197, appendix B, under an encrypted key.
func Example_aes() {
	p := newParty()
	defer p.server.Close()
	encrypt := func(block string) []fhe.LWE {
		e := p.secret.Encrypt(fhe.NewSeed(), aes.Messages([]byte(block)))
		out := make([]fhe.LWE, e.Len())
		for i := range out {
			out[i] = e.LWE(p.params, i, parity.Half)
		}
		return out
	}
	eval, err := aes.New(p.params, p.server)
	check(err)
	key, err := eval.Expand(context.Background(), encrypt("\x2b\x7e\x15\x16\x28\xae\xd2\xa6\xab\xf7\x15\x88\x09\xcf\x4f\x3c"))
	check(err)
	blocks, err := eval.Encrypt(context.Background(), key, encrypt("\x32\x43\xf6\xa8\x88\x5a\x30\x8d\x31\x31\x98\xa2\xe0\x37\x07\x34"))
	check(err)
	messages := make([]int64, len(blocks[0]))
	for i, c := range blocks[0] {
		messages[i] = p.secret.Decrypt(c)
	}
	fmt.Printf("%x\n", aes.Bytes(messages))
	// Output: 3925841d02dc09fbdc118597196a0b32
}
