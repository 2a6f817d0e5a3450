package noisebench

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/tacit-fhe/tacit/bench/setting"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// Report is the outcome of a Run. All variances and errors are relative to the
// modulus.
type Report struct {
	Parameters setting.Parameters `json:"parameters"`
	CPU        setting.CPU        `json:"cpu"`
	Seed       string             `json:"seed"` // hex; everything follows from it
	Samples    int                `json:"samples"`
	Confidence float64            `json:"confidence"`
	Keys       []Key              `json:"keys"`
	Steps      []Step             `json:"steps"`
	Decisions  []Decision         `json:"decisions"`
}

// Key is one key set of the measurement.
type Key struct {
	Seed        string `json:"seed"`
	ID          string `json:"id"`
	SmallWeight int    `json:"small_weight"` // ones among LWEDimension bits
	SetSteps    int    `json:"set_steps"`    // steps of the blind rotation with a one among their bits
	FirstSet    bool   `json:"first_set"`    // the first step is one of them
	BigWeight   int    `json:"big_weight"`   // ones among Rank·PolynomialSize bits
}

// Sample is a measured variance against the prediction for the keys it was
// measured with.
type Sample struct {
	Count     int      `json:"count"`
	Predicted float64  `json:"predicted"`
	Measured  float64  `json:"measured"`
	Interval  Interval `json:"interval"` // of Measured
	Inside    bool     `json:"inside"`   // Interval holds Predicted
}

// Ratio is the measured variance relative to the predicted one.
func (s Sample) Ratio() float64 { return s.Measured / s.Predicted }

// Step is the noise of one step.
type Step struct {
	Name         string   `json:"name"`
	Formula      float64  `json:"formula"` // variance by fhe/noise, the average over keys
	Pooled       Sample   `json:"pooled"`  // over all keys
	Kurtosis     float64  `json:"kurtosis"`
	Mean         float64  `json:"mean"`
	MeanInterval Interval `json:"mean_interval"`
	MeanInside   bool     `json:"mean_inside"`       // MeanInterval holds zero
	PerKey       []Sample `json:"per_key,omitempty"` // in the order of Report.Keys; none where every sample has its own keys
}

// Decision is a count of wrong decisions at a reduced precision.
type Decision struct {
	Name      string   `json:"name"`
	Count     int      `json:"count"`
	HalfBox   int      `json:"half_box"`      // T: right means an exponent in [-T, T)
	FullHalf  int      `json:"full_half_box"` // T of a real bootstrap
	Predicted float64  `json:"predicted"`     // probability of a wrong decision
	Wrong     int      `json:"wrong"`
	Interval  Interval `json:"interval"` // of the probability
	Inside    bool     `json:"inside"`   // Interval holds Predicted
	PerKey    []int    `json:"per_key"`  // wrong decisions

	// Log2Formula is log2 of the failure probability of a real bootstrap of
	// such an input by fhe/noise, Log2Rounded the same with the exponent's
	// rounding at the edges of the box taken exactly, and Log2Measured that of
	// fhe/noise at the upper end of the interval of the measured variance.
	Log2Formula  float64 `json:"log2_failure_formula"`
	Log2Rounded  float64 `json:"log2_failure_rounded"`
	Log2Measured float64 `json:"log2_failure_measured"`
}

// Outside names what lies outside its interval, pooled over the keys. It is empty
// when all predictions hold.
func (r *Report) Outside() (names []string) {
	for _, s := range r.Steps {
		if !s.Pooled.Inside {
			names = append(names, s.Name+": variance")
		}
		if !s.MeanInside {
			names = append(names, s.Name+": mean")
		}
	}
	for _, d := range r.Decisions {
		if !d.Inside {
			names = append(names, d.Name+": wrong decisions")
		}
	}
	return names
}

func newStep(name string, formula float64, perKey []float64, errors [][]float64) Step {
	m := momentsOf(errors...)
	s := Step{
		Name: name, Formula: formula, Pooled: compare(m, mean(perKey)),
		Kurtosis: m.kurtosis, Mean: m.mean, MeanInterval: m.meanInterval(),
	}
	s.MeanInside = s.MeanInterval.Contains(0)
	if len(errors) > 1 {
		for k, e := range errors {
			s.PerKey = append(s.PerKey, compare(momentsOf(e), perKey[k]))
		}
	}
	return s
}

// oneInTwenty is the point that a standard Gaussian exceeds in absolute value
// with probability 1/20.
const oneInTwenty = 1.96

func newDecision(p *fhe.Parameters, s *series) Decision {
	twoN := float64(2 * p.Literal().PolynomialSize)
	half := math.Round(oneInTwenty * math.Sqrt(s.formula) * twoN)
	d := Decision{Name: s.name, HalfBox: int(half), FullHalf: p.Literal().PolynomialSize / (2 * p.Boxes())}
	for k, errors := range s.errors {
		wrong := 0
		for _, e := range errors {
			// The error times 2N is an integer.
			if x := e * twoN; x < -half || x >= half {
				wrong++
			}
		}
		d.Count += len(errors)
		d.Wrong += wrong
		d.PerKey = append(d.PerKey, wrong)
		d.Predicted += math.Exp2(log2Wrong(half, twoN, s.perKey[k])) / float64(len(s.errors))
	}
	d.Interval = clopperPearson(d.Wrong, d.Count)
	d.Inside = d.Interval.Contains(d.Predicted)
	full := float64(d.FullHalf)
	d.Log2Formula = noise.Log2Failure(full/twoN, s.formula)
	d.Log2Rounded = log2Wrong(full, twoN, s.formula)
	d.Log2Measured = noise.Log2Failure(full/twoN, momentsOf(s.errors...).varianceInterval().High)
	return d
}

// log2Wrong is log2 of the probability that an exponent of the given variance,
// its rounding to 1/2N included, leaves [-half, half): the formula in the package
// comment.
func log2Wrong(half, twoN, variance float64) float64 {
	v := variance - 1/(12*twoN*twoN)
	above := noise.Log2Failure((half-0.5)/twoN, v)
	below := noise.Log2Failure((half+0.5)/twoN, v)
	return above + math.Log2(1+math.Exp2(below-above)) - 1
}

func compare(m moments, predicted float64) Sample {
	s := Sample{Count: m.count, Predicted: predicted, Measured: m.variance, Interval: m.varianceInterval()}
	s.Inside = s.Interval.Contains(predicted)
	return s
}

func mean(xs []float64) (sum float64) {
	for _, x := range xs {
		sum += x / float64(len(xs))
	}
	return sum
}

func verdict(inside bool) string {
	if inside {
		return "inside"
	}
	return "OUTSIDE"
}

// Markdown writes the report as a section of tables.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	p := r.Parameters
	fmt.Fprintf(&b, "## %s\n\n", p.Name)
	fmt.Fprintf(&b, "q = %d, N = %d, k = %d, n = %d, bootstrap 2^%d × %d, key switch 2^%d × %d, TUniform(%d) of q and TUniform(%d) of 2^32, %d boxes.\n",
		p.Modulus, p.PolynomialSize, p.Rank, p.LWEDimension, p.BootstrapBaseLog, p.BootstrapLevels,
		p.KeySwitchBaseLog, p.KeySwitchLevels, p.GLWENoise, p.LWENoise, p.Boxes)
	fmt.Fprintf(&b, "Seed %s, key sets: %d. Computed on %s (%s, %s).\n\n", r.Seed, len(r.Keys), r.CPU.Model, r.CPU.Arch, r.CPU.Backend)

	b.WriteString("| step | samples | formula | predicted | measured | measured/predicted | 99 % interval | variance | mean/σ | 99 % interval | mean | kurtosis |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range r.Steps {
		v, sd := s.Pooled, math.Sqrt(s.Pooled.Predicted)
		fmt.Fprintf(&b, "| %s | %d | 2^%.3f | 2^%.3f | 2^%.3f | %s | %s | %+.3f | %+.3f to %+.3f | %s | %.2f |\n",
			s.Name, v.Count, math.Log2(s.Formula), math.Log2(v.Predicted), math.Log2(v.Measured), v.ratios(), verdict(v.Inside),
			s.Mean/sd, s.MeanInterval.Low/sd, s.MeanInterval.High/sd, verdict(s.MeanInside), s.Kurtosis)
	}
	b.WriteString("\nVariances are relative to q². Formula: fhe/noise, the average over keys. Predicted: the same for these keys.\n\n")

	r.markdownKeys(&b)

	b.WriteString("| decisions at reduced precision | samples | half box (of) | predicted | wrong, expected | wrong | 99 % interval | verdict | log2 p_fail at full precision: formula, with rounding, at the upper end of the measured variance |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	for _, d := range r.Decisions {
		fmt.Fprintf(&b, "| %s | %d | %d (%d) | %.4f | %.1f | %d | %.4f to %.4f | %s | %.1f, %.1f, %.1f |\n",
			d.Name, d.Count, d.HalfBox, d.FullHalf, d.Predicted, d.Predicted*float64(d.Count), d.Wrong,
			d.Interval.Low, d.Interval.High, verdict(d.Inside), d.Log2Formula, d.Log2Rounded, d.Log2Measured)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// markdownKeys writes the table of measured/predicted for each key.
func (r *Report) markdownKeys(b *strings.Builder) {
	if len(r.Keys) < 2 {
		return
	}
	b.WriteString("| measured/predicted by key |")
	for k := range r.Keys {
		fmt.Fprintf(b, " key %d |", k)
	}
	b.WriteString("\n|---" + strings.Repeat("|---", len(r.Keys)) + "|\n| ones in the small key, in the big key |")
	for _, k := range r.Keys {
		fmt.Fprintf(b, " %d, %d |", k.SmallWeight, k.BigWeight)
	}
	b.WriteString("\n")
	for _, s := range r.Steps {
		if s.PerKey == nil {
			continue
		}
		fmt.Fprintf(b, "| %s |", s.Name)
		for _, k := range s.PerKey {
			cell := strings.Replace(k.ratios(), " | ", " (", 1) + ")"
			if !k.Inside {
				cell += " " + verdict(false)
			}
			fmt.Fprintf(b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

// ratios are two cells: measured/predicted and its interval.
func (s Sample) ratios() string {
	return fmt.Sprintf("%.3f | %.3f to %.3f", s.Ratio(), s.Interval.Low/s.Predicted, s.Interval.High/s.Predicted)
}
