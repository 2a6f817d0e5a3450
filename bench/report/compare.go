package report

import (
	"fmt"
	"io"
	"math"

	"github.com/tacit-fhe/tacit/bench/suite"
)

// Comparison is two files of results side by side.
type Comparison struct {
	Before suite.Build `json:"before"`
	After  suite.Build `json:"after"`
	// SameMachine says that both name the same processor, backend, number of cores and GPU.
	SameMachine bool `json:"same_machine"`
	// Machine is how much longer the fixed work took after, as a ratio, over all records; 0 where
	// a file does not say.
	Machine float64 `json:"machine,omitempty"`
	// Counts are how many records have each verdict, Expected how many of those that were
	// compared would be faster or slower by chance alone, and Chance the number that chance
	// exceeds in less than one comparison of a hundred. The files agree when no more are.
	Counts   map[string]int `json:"counts"`
	Expected float64        `json:"expected_by_chance"`
	Chance   int            `json:"most_by_chance"`
	Agree    bool           `json:"agree"`
	// Within is half the width of the interval of the median record, as a share of its time: what
	// differs by less is not found.
	Within float64 `json:"within,omitempty"`

	Rows       []Difference `json:"rows"`
	OnlyBefore []string     `json:"only_before,omitempty"`
	OnlyAfter  []string     `json:"only_after,omitempty"`
}

// The verdicts of a Difference.
const (
	Faster  = "faster"
	Slower  = "slower"
	Same    = "same"    // the interval has 1 in it
	Unknown = "unknown" // nothing is known of how the times vary
)

// Difference is one record in both files.
type Difference struct {
	Record  string  `json:"record"`
	Before  Time    `json:"before"`
	After   Time    `json:"after"`
	Ratio   float64 `json:"ratio"`             // of the times, after by before
	Machine float64 `json:"machine,omitempty"` // of that, what the fixed work took longer
	// The interval that Ratio, divided by Machine, is in with a probability of 99 %; left out where it is not known.
	Low     float64 `json:"low,omitempty"`
	High    float64 `json:"high,omitempty"`
	Verdict string  `json:"verdict"`
}

// Time is what a file says of a record: seconds per item, the geometric mean of the
// medians of the rounds.
type Time struct {
	Seconds float64 `json:"seconds"`
	Rounds  int     `json:"rounds"`
}

// Compare compares the records that both files have, relative to the pace of the machine
// where both know it. A record differs when the 99 % interval of its ratio, as wide as
// rounds differ from each other, does not have 1 in it.
func Compare(before, after *suite.Results) *Comparison {
	a, b := before.Machine, after.Machine
	c := &Comparison{
		Before: before.Build, After: after.Build, Counts: map[string]int{},
		SameMachine: a.CPU.Model == b.CPU.Model && a.CPU.Backend == b.CPU.Backend && a.Cores == b.Cores && a.GPU == b.GPU,
	}
	var all []variance
	var deltas, shares, paces []float64
	befores, afters := roundsOf(before), roundsOf(after)
	for i := range before.Records {
		key := before.Records[i].Key()
		was, is := befores[key], afters[key]
		if is == nil {
			c.OnlyBefore = append(c.OnlyBefore, key)
			continue
		}
		d := Difference{Record: key}
		d.Before, d.After = was.time(), is.time()
		d.Ratio = d.After.Seconds / d.Before.Seconds
		if was.pace != nil && is.pace != nil {
			pace := mean(is.pace) - mean(was.pace)
			d.Machine = math.Exp(pace)
			paces = append(paces, d.Machine)
			was, is = was.divided(), is.divided()
		}
		all = append(all, variation(was.values, is.values))
		deltas = append(deltas, mean(is.values)-mean(was.values))
		shares = append(shares, 1/float64(len(was.values))+1/float64(len(is.values)))
		c.Rows = append(c.Rows, d)
	}
	if len(paces) > 0 {
		c.Machine = suite.Summarise(paces).Median
	}
	prior, compared := priorOf(all), 0
	var halves []float64
	for i := range c.Rows {
		d := &c.Rows[i]
		d.Verdict = Unknown
		if half := all[i].with(prior).half(shares[i]); !math.IsInf(half, 1) {
			compared++
			halves = append(halves, math.Expm1(half))
			d.Low, d.High, d.Verdict = math.Exp(deltas[i]-half), math.Exp(deltas[i]+half), Same
			switch {
			case d.High < 1:
				d.Verdict = Faster
			case d.Low > 1:
				d.Verdict = Slower
			}
		}
		c.Counts[d.Verdict]++
	}
	c.Within = suite.Summarise(halves).Median
	c.Expected, c.Chance = float64(compared)*(1-confidence), byChance(compared)
	c.Agree = compared > 0 && compared == len(c.Rows) && c.Counts[Faster]+c.Counts[Slower] <= c.Chance
	for i := range after.Records {
		if key := after.Records[i].Key(); befores[key] == nil {
			c.OnlyAfter = append(c.OnlyAfter, key)
		}
	}
	return c
}

// Markdown writes the comparison as a table.
func (c *Comparison) Markdown(w io.Writer) error {
	p := &printer{w: w}
	p.printf("Before: commit %s, %s. After: commit %s, %s. Per item, the mean of the rounds' medians, and the 99 %% interval of the ratio by how rounds differ.\n\n", c.Before.Commit, c.Before.Go, c.After.Commit, c.After.Go)
	if !c.SameMachine {
		p.printf("The machines differ: times cannot be compared.\n\n")
	}
	if c.Machine > 0 {
		p.printf("Fixed work, timed next to each record, took %s after: the interval is that of the ratio with this taken out, as it was around each record.\n\n", change(c.Machine))
	}
	compared := len(c.Rows) - c.Counts[Unknown]
	chance := fmt.Sprintf("%.2g of %d would by chance, and more than %d in less than one comparison of a hundred. Half of the intervals are wider than ±%.2g %%", c.Expected, compared, c.Chance, 100*c.Within)
	switch {
	case len(c.Rows) == 0:
		p.printf("They share no record.\n\n")
	case c.Counts[Unknown] > 0:
		p.printf("Of %d records that they share, nothing is known of how the times of %d vary: that takes two rounds, and %d records.\n\n", len(c.Rows), c.Counts[Unknown], leastVariances)
	case c.Agree:
		p.printf("They agree: of %d records that they share, %d are faster after and %d slower; %s.\n\n", len(c.Rows), c.Counts[Faster], c.Counts[Slower], chance)
	default:
		p.printf("They differ: of %d records that they share, %d are faster after and %d slower; %s.\n\n", len(c.Rows), c.Counts[Faster], c.Counts[Slower], chance)
	}
	p.head("record", "before", "after", "ratio", "the machine's", "interval of the rest", "")
	for _, d := range c.Rows {
		machine, interval := "", ""
		if d.Machine > 0 {
			machine = fmt.Sprintf("%.3f", d.Machine)
		}
		if d.Verdict != Unknown {
			interval = fmt.Sprintf("%.3f to %.3f", d.Low, d.High)
		}
		p.row(d.Record, d.Before.text(), d.After.text(), fmt.Sprintf("%.3f", d.Ratio), machine, interval, d.Verdict)
	}
	for _, key := range c.OnlyBefore {
		p.row(key, "", "not measured", "", "", "", "")
	}
	for _, key := range c.OnlyAfter {
		p.row(key, "not measured", "", "", "", "", "")
	}
	return p.err
}

func (t Time) text() string {
	if t.Rounds == 1 {
		return seconds(t.Seconds) + " (one round)"
	}
	return seconds(t.Seconds)
}

// change is a ratio of times in words.
func change(ratio float64) string {
	if ratio < 1 {
		return fmt.Sprintf("%.1f %% less", 100*(1-ratio))
	}
	return fmt.Sprintf("%.1f %% more", 100*(ratio-1))
}
