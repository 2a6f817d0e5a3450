// Package digits holds networks that read handwritten digits, with the images that they are
// tested on. README.md says where both come from; train is the program that made them.
//
// A network has one layer of neurons whose activation is the square, which every
// scheme can compute exactly: pixels are on or off, the weights of neurons are -1, 0 or 1,
// and all else is integers.
package digits

import (
	"bufio"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
)

// What images and networks have.
const (
	Side      = 28
	Pixels    = Side * Side
	Classes   = 10
	MaxOutput = 7 // of the weights of classes, in absolute value
)

// Hidden lists the networks that there are, by their number of neurons.
var Hidden = []int{16, 32}

// Model is a network: class o has the score Σ Outputs[o][j]·h[j]² + OutputBiases[o], where h[j] is
// the sum of the pixels with the weights of neuron j and its bias.
type Model struct {
	Clear        float64   `json:"clear_accuracy"` // of a network of this size with real weights
	Weights      []string  `json:"weights"`        // of each neuron, a character for each pixel: + - 0
	Biases       []int64   `json:"biases"`
	Outputs      [][]int64 `json:"outputs"`
	OutputBiases []int64   `json:"output_biases"`
}

// Weight is that of neuron j for a pixel.
func (m *Model) Weight(j, pixel int) int64 {
	switch m.Weights[j][pixel] {
	case '+':
		return 1
	case '-':
		return -1
	}
	return 0
}

// Scores are those of the classes.
func (m *Model) Scores(image []int64) []int64 {
	scores := append([]int64(nil), m.OutputBiases...)
	for j, b := range m.Biases {
		h := b
		for pixel, on := range image {
			h += on * m.Weight(j, pixel)
		}
		for o := range scores {
			scores[o] += m.Outputs[o][j] * h * h
		}
	}
	return scores
}

// Accuracy is the share of the test images whose greatest score is that of their
// label.
func (m *Model) Accuracy() float64 {
	right := 0
	for _, s := range Test() {
		scores, best := m.Scores(s.Pixels), 0
		for o, x := range scores {
			if x > scores[best] {
				best = o
			}
		}
		if best == s.Label {
			right++
		}
	}
	return float64(right) / float64(len(Test()))
}

// Image is pixels, 0 or 1, row by row, and the digit that they show.
type Image struct {
	Pixels []int64
	Label  int
}

//go:embed test.txt model-*.json
var files embed.FS

// Test returns the test images, which no network was trained on.
var Test = sync.OnceValue(func() (all []Image) {
	f, err := files.Open("test.txt")
	if err != nil {
		panic(err) // of a file that the program ships, here and below
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		label, text, _ := strings.Cut(lines.Text(), " ")
		packed, err := hex.DecodeString(text)
		if err != nil || len(packed) != Pixels/8 {
			panic("digits: test.txt: " + lines.Text())
		}
		image := Image{Label: int(label[0] - '0')}
		for i := range Pixels {
			image.Pixels = append(image.Pixels, int64(packed[i/8]>>(i%8)&1))
		}
		all = append(all, image)
	}
	return all
})

var models = sync.OnceValue(func() map[int]*Model {
	all := map[int]*Model{}
	for _, hidden := range Hidden {
		data, err := files.ReadFile(fmt.Sprintf("model-%d.json", hidden))
		if err != nil {
			panic(err)
		}
		m := new(Model)
		if err := json.Unmarshal(data, m); err != nil {
			panic(err)
		}
		all[hidden] = m
	}
	return all
})

// Get returns the network with so many neurons, one of Hidden.
func Get(hidden int) *Model { return models()[hidden] }
