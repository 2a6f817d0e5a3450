// Package peers knows other libraries: figures that they publish, which are quoted
// and never compared in one table with measured ones, and adapters, programs that
// run a workload with another library on this machine.
package peers

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

// Published are figures with where they come from.
type Published struct {
	Sources []Source `json:"sources"`
}

// Source is one publication.
type Source struct {
	Library string   `json:"library"`
	Version string   `json:"version"`
	Source  string   `json:"source"`
	Machine string   `json:"machine"`
	Setting string   `json:"setting"` // parameters and what else matters
	Figures []Figure `json:"figures"`
}

// Figure is one number.
type Figure struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

//go:embed published.json
var published []byte

// Quoted returns the figures that are shipped with the program.
func Quoted() (*Published, error) {
	p := new(Published)
	if err := json.Unmarshal(published, p); err != nil {
		return nil, fmt.Errorf("published.json: %w", err)
	}
	return p, nil
}
