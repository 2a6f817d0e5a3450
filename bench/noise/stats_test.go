package noisebench

import (
	"math"
	"math/rand/v2"
	"testing"
)

func close(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestQuantiles(t *testing.T) {
	close(t, "gaussian", gaussian, 2.5758293, 1e-6)
	// Tables of the chi-squared distribution, 0.5 % and 99.5 %.
	close(t, "chi² 100 low", chiSquared(100, -gaussian), 67.328, 0.04)
	close(t, "chi² 100 high", chiSquared(100, gaussian), 140.169, 0.04)
	close(t, "chi² 1000 low", chiSquared(1000, -gaussian), 888.564, 0.05)
	close(t, "chi² 1000 high", chiSquared(1000, gaussian), 1118.948, 0.05)
}

func TestClopperPearson(t *testing.T) {
	// With no success the upper end is 1 - 0.005^(1/n), with n the lower one is
	// its mirror image.
	end := 1 - math.Pow(0.005, 1.0/50)
	none, all := clopperPearson(0, 50), clopperPearson(50, 50)
	close(t, "none, low", none.Low, 0, 0)
	close(t, "none, high", none.High, end, 1e-9)
	close(t, "all, low", all.Low, 1-end, 1e-9)
	close(t, "all, high", all.High, 1, 0)
	// One success of n leaves the tail (1-p)^n + n·p·(1-p)^(n-1).
	p := clopperPearson(1, 50).High
	close(t, "one, high", math.Pow(1-p, 50)+50*p*math.Pow(1-p, 49), 0.005, 1e-9)
	// Symmetry, and the Gaussian limit.
	a, b := clopperPearson(30, 100), clopperPearson(70, 100)
	close(t, "symmetry", a.Low+b.High, 1, 1e-9)
	c := clopperPearson(5000, 100000)
	close(t, "limit, low", c.Low, 0.05-gaussian*math.Sqrt(0.05*0.95/100000), 5e-5)
	close(t, "limit, high", c.High, 0.05+gaussian*math.Sqrt(0.05*0.95/100000), 5e-5)
}

// TestIntervalsCover counts how often the intervals hold the truth for Gaussian
// and for uniform samples: 99 % is 3960 of 4000, give or take 19 for three
// standard deviations, and some more since the kurtosis is estimated.
func TestIntervalsCover(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() float64{
		"gaussian": rng.NormFloat64,
		"uniform":  func() float64 { return (rng.Float64() - 0.5) * math.Sqrt(12) },
	} {
		const runs = 4000
		means, variances := 0, 0
		width := 0.0
		xs := make([]float64, 400)
		for range runs {
			for i := range xs {
				xs[i] = draw()
			}
			m := momentsOf(xs[:100], xs[100:])
			v := m.varianceInterval()
			width += (v.High - v.Low) / runs
			if v.Contains(1) {
				variances++
			}
			if m.meanInterval().Contains(0) {
				means++
			}
		}
		if variances < 3910 || variances > 3990 || means < 3930 || means > 3990 {
			t.Errorf("%s: %d variances and %d means of %d inside", name, variances, means, runs)
		}
		t.Logf("%s: %d variances and %d means of %d inside, mean width %.3f", name, variances, means, runs, width)
	}
}

func TestMoments(t *testing.T) {
	m := momentsOf([]float64{1, 2}, []float64{3, 6})
	close(t, "mean", m.mean, 3, 1e-12)
	close(t, "variance", m.variance, 14.0/3, 1e-12)
	close(t, "kurtosis", m.kurtosis, 4*(16+1+81)/196.0, 1e-12)
}

// TestStepsCanFail feeds samples whose variance or mean is off by 15 %.
func TestStepsCanFail(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		scale, shift   float64
		variance, mean bool
	}{{1, 0, true, true}, {1.15, 0, false, true}, {0.85, 0, false, true}, {1, 0.15, true, false}} {
		errors := make([][]float64, 2)
		for k := range errors {
			for range 4000 {
				errors[k] = append(errors[k], rng.NormFloat64()*math.Sqrt(c.scale)+c.shift)
			}
		}
		s := newStep("step", 5, []float64{0.9, 1.1}, errors)
		if s.Pooled.Inside != c.variance || s.MeanInside != c.mean {
			t.Errorf("%+v: %+v", c, s)
		}
		r := Report{Steps: []Step{s}}
		if got := len(r.Outside()) == 0; got != (c.variance && c.mean) {
			t.Errorf("%+v: Outside is %q", c, r.Outside())
		}
	}
}
