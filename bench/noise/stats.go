package noisebench

import "math"

// confidence is the level of every interval.
const confidence = 0.99

// gaussian is the point that a standard Gaussian exceeds in absolute value with
// probability 1 - confidence.
var gaussian = math.Sqrt2 * math.Erfinv(confidence)

// Interval is a confidence interval.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Contains says whether x lies in the interval.
func (i Interval) Contains(x float64) bool { return i.Low <= x && x <= i.High }

// moments are those of a sample.
type moments struct {
	count          int
	mean, variance float64 // variance with the divisor count-1
	kurtosis       float64 // 3 for a Gaussian
}

func momentsOf(samples ...[]float64) (m moments) {
	for _, group := range samples {
		m.count += len(group)
		for _, x := range group {
			m.mean += x
		}
	}
	n := float64(m.count)
	m.mean /= n
	var squares, fourths float64
	for _, group := range samples {
		for _, x := range group {
			d := (x - m.mean) * (x - m.mean)
			squares += d
			fourths += d * d
		}
	}
	m.variance = squares / (n - 1)
	m.kurtosis = fourths * n / (squares * squares)
	return m
}

// meanInterval is the confidence interval of the mean.
func (m moments) meanInterval() Interval {
	half := gaussian * math.Sqrt(m.variance/float64(m.count))
	return Interval{m.mean - half, m.mean + half}
}

// varianceInterval is the confidence interval of the variance; see the package
// comment.
func (m moments) varianceInterval() Interval {
	df := 2 * float64(m.count-1) / (m.kurtosis - 1)
	return Interval{
		m.variance * df / chiSquared(df, gaussian),
		m.variance * df / chiSquared(df, -gaussian),
	}
}

// chiSquared is the quantile of the chi-squared distribution that belongs to the
// quantile z of the standard Gaussian (Wilson and Hilferty, 1931): within 0.05 %
// for 100 degrees of freedom and better for more.
func chiSquared(df, z float64) float64 {
	v := 2 / (9 * df)
	return df * math.Pow(1-v+z*math.Sqrt(v), 3)
}

// clopperPearson is the exact confidence interval of the probability of an event
// that happened count times in n trials (Clopper and Pearson, 1934).
func clopperPearson(count, n int) Interval {
	const tail = (1 - confidence) / 2
	i := Interval{0, 1}
	if count > 0 {
		i.Low = bisect(func(p float64) bool { return 1-binomialCDF(count-1, n, p) < tail })
	}
	if count < n {
		i.High = bisect(func(p float64) bool { return binomialCDF(count, n, p) > tail })
	}
	return i
}

// bisect returns where a function of [0, 1] turns from true to false.
func bisect(f func(float64) bool) float64 {
	lo, hi := 0.0, 1.0
	for range 60 {
		if mid := (lo + hi) / 2; f(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return (lo + hi) / 2
}

// binomialCDF is the probability of at most k successes in n trials of
// probability p in (0, 1).
func binomialCDF(k, n int, p float64) (sum float64) {
	logFactorial := func(x int) float64 {
		l, _ := math.Lgamma(float64(x) + 1)
		return l
	}
	yes, no, all := math.Log(p), math.Log1p(-p), logFactorial(n)
	for i := range k + 1 {
		sum += math.Exp(all - logFactorial(i) - logFactorial(n-i) + float64(i)*yes + float64(n-i)*no)
	}
	return sum
}
