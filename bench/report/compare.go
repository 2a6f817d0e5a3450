package report

import (
	"fmt"
	"io"

	"github.com/tacit-fhe/tacit/bench/suite"
)

// Comparison is two files of results side by side.
type Comparison struct {
	Before suite.Build `json:"before"`
	After  suite.Build `json:"after"`
	// SameMachine says that both name the same processor, backend, number of cores and GPU.
	SameMachine bool `json:"same_machine"`
	// Counts are how many records have each verdict. The files agree within their own spread when all
	// are the same.
	Counts     map[string]int `json:"counts"`
	Agree      bool           `json:"agree"`
	Rows       []Difference   `json:"rows"`
	OnlyBefore []string       `json:"only_before,omitempty"`
	OnlyAfter  []string       `json:"only_after,omitempty"`
}

// The verdicts of a Difference.
const (
	Faster = "faster"
	Slower = "slower"
	Same   = "same" // the spreads overlap
)

// Difference is one record in both files, in seconds per item.
type Difference struct {
	Record  string  `json:"record"`
	Before  Spread  `json:"before"`
	After   Spread  `json:"after"`
	Ratio   float64 `json:"ratio"` // of the medians, after by before
	Verdict string  `json:"verdict"`
}

// Spread is what a record says of itself: its samples lie between Min and P95, but
// for one in twenty.
type Spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P95    float64 `json:"p95"`
}

// Compare compares the records that both files have. Two that overlap from the least
// sample to the 95th percentile are the same.
func Compare(before, after *suite.Results) *Comparison {
	a, b := before.Machine, after.Machine
	c := &Comparison{
		Before: before.Build, After: after.Build,
		SameMachine: a.CPU.Model == b.CPU.Model && a.CPU.Backend == b.CPU.Backend && a.Cores == b.Cores && a.GPU == b.GPU,
	}
	spread := func(r *suite.Record) Spread {
		s := r.PerItem()
		return Spread{s.Min, s.Median, s.P95}
	}
	for i := range before.Records {
		key := before.Records[i].Key()
		other := after.Find(key)
		if other == nil {
			c.OnlyBefore = append(c.OnlyBefore, key)
			continue
		}
		d := Difference{Record: key, Before: spread(&before.Records[i]), After: spread(other), Verdict: Same}
		d.Ratio = d.After.Median / d.Before.Median
		switch {
		case d.After.P95 < d.Before.Min:
			d.Verdict = Faster
		case d.After.Min > d.Before.P95:
			d.Verdict = Slower
		}
		c.Rows = append(c.Rows, d)
	}
	c.Counts = map[string]int{}
	for _, d := range c.Rows {
		c.Counts[d.Verdict]++
	}
	c.Agree = len(c.Rows) > 0 && c.Counts[Same] == len(c.Rows)
	for i := range after.Records {
		if key := after.Records[i].Key(); before.Find(key) == nil {
			c.OnlyAfter = append(c.OnlyAfter, key)
		}
	}
	return c
}

// Markdown writes the comparison as a table.
func (c *Comparison) Markdown(w io.Writer) error {
	p := &printer{w: w}
	p.printf("Before: commit %s, %s. After: commit %s, %s. Per item, median and spread from the least sample to the 95th percentile.\n\n", c.Before.Commit, c.Before.Go, c.After.Commit, c.After.Go)
	if !c.SameMachine {
		p.printf("The machines differ: times cannot be compared.\n\n")
	}
	switch {
	case len(c.Rows) == 0:
		p.printf("They share no record.\n\n")
	case c.Agree:
		p.printf("They agree: the spreads of all %d records that they share overlap.\n\n", len(c.Rows))
	default:
		p.printf("They differ: of %d records that they share, %d agree within their spreads, %d are faster after, %d slower.\n\n",
			len(c.Rows), c.Counts[Same], c.Counts[Faster], c.Counts[Slower])
	}
	p.head("record", "before", "after", "ratio", "")
	text := func(s Spread) string {
		return fmt.Sprintf("%s (%s to %s)", seconds(s.Median), seconds(s.Min), seconds(s.P95))
	}
	for _, d := range c.Rows {
		p.row(d.Record, text(d.Before), text(d.After), fmt.Sprintf("%.3f", d.Ratio), d.Verdict)
	}
	for _, key := range c.OnlyBefore {
		p.row(key, "", "not measured", "", "")
	}
	for _, key := range c.OnlyAfter {
		p.row(key, "not measured", "", "", "")
	}
	return p.err
}
