package report

import (
	"math"
	"slices"
	"time"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/tacit-fhe/tacit/bench/suite"
)

// How far two runs of the same program may be apart is told by rounds, which are apart
// in time and have keys and memory of their own, not by samples one after the other:
// what is repeated has to be repeated at the highest level that varies (Kalibera and
// Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013). The value of a round is
// the logarithm of its median time. Two rounds of a record tell little about how they
// vary, all records together much: the variance of each is drawn to the common one by as
// much as the variances of all agree with each other, which gives a t statistic with more
// degrees of freedom (Smyth, "Linear Models and Empirical Bayes Methods for Assessing
// Differential Expression in Microarray Experiments", Statistical Applications in Genetics
// and Molecular Biology 3(1), 2004, sections 3 and 6.2).

// confidence is that of every interval.
const confidence = 0.99

// finest is the least standard deviation that is believed: a thousandth of the time.
const finest = 1e-3

// variance is an estimate with its degrees of freedom, of which 0 is none.
type variance struct{ square, freedom float64 }

// variation is the variance of values about the means of their groups.
func variation(groups ...[]float64) (v variance) {
	for _, values := range groups {
		m := mean(values)
		for _, x := range values {
			v.square += (x - m) * (x - m)
		}
		v.freedom += float64(len(values) - 1)
	}
	if v.freedom > 0 {
		v.square = max(v.square/v.freedom, finest*finest)
	}
	return v
}

func mean(values []float64) (sum float64) {
	for _, x := range values {
		sum += x
	}
	return sum / float64(len(values))
}

// leastVariances is how many variances a prior takes.
const leastVariances = 10

// priorOf is the prior of variances: the variance s0² and the degrees of freedom d0 of
// section 6.2 of Smyth, none for fewer than leastVariances. The degrees are infinite where
// the variances differ no more than by chance.
func priorOf(all []variance) variance {
	var e []float64
	noise := 0.0
	for _, v := range all {
		if v.freedom > 0 {
			half := v.freedom / 2
			e = append(e, math.Log(v.square)-mathext.Digamma(half)+math.Log(half))
			noise += trigamma(half)
		}
	}
	n := float64(len(e))
	if len(e) < leastVariances {
		return variance{}
	}
	m, excess := mean(e), -noise/n
	for _, x := range e {
		excess += (x - m) * (x - m) / (n - 1)
	}
	if excess <= 0 {
		return variance{math.Exp(m), math.Inf(1)}
	}
	half := inverseTrigamma(excess)
	return variance{math.Exp(m + mathext.Digamma(half) - math.Log(half)), 2 * half}
}

// with is the posterior: v drawn to the prior.
func (v variance) with(prior variance) variance {
	if math.IsInf(prior.freedom, 1) {
		return prior
	}
	total := v.freedom + prior.freedom
	if total == 0 {
		return variance{}
	}
	return variance{(v.freedom*v.square + prior.freedom*prior.square) / total, total}
}

// half is half the width of the interval of a mean, or difference of means, whose
// variance is that of one value times share; infinite where nothing is known.
func (v variance) half(share float64) float64 {
	if v.freedom == 0 {
		return math.Inf(1)
	}
	q := distuv.UnitNormal.Quantile(1 - (1-confidence)/2)
	if !math.IsInf(v.freedom, 1) {
		q = distuv.StudentsT{Sigma: 1, Nu: v.freedom}.Quantile(1 - (1-confidence)/2)
	}
	return q * math.Sqrt(v.square*share)
}

// trigamma is the derivative of the digamma function.
func trigamma(x float64) float64 { return mathext.Zeta(2, x) }

// inverseTrigamma is the x > 0 with trigamma(x) = y, which decreases.
func inverseTrigamma(y float64) float64 {
	low, high := 1e-6, 1e6
	for range 100 {
		if mid := math.Sqrt(low * high); trigamma(mid) > y {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// rounds are the logarithms of the seconds of an item, and of the seconds that the fixed
// work took around that time, by round; pace is nil where that is not known.
type rounds struct{ values, pace []float64 }

// near is how many times of the fixed work, the nearest to a round on as many threads,
// its pace is the median of: next to one record alone it is too short to tell the pace
// well.
const near = 21

// roundsOf are the rounds of all records, by key.
func roundsOf(r *suite.Results) map[string]*rounds {
	type moment struct {
		of      *rounds
		place   int // in pace
		began   time.Time
		seconds float64
	}
	all, byThreads := map[string]*rounds{}, map[int][]moment{}
	for i := range r.Records {
		x := &r.Records[i]
		one := &rounds{}
		all[x.Key()] = one
		for _, s := range x.Rounds {
			one.values = append(one.values, math.Log(suite.Summarise(s.Seconds.Compute).Median/float64(x.Items)))
		}
		if slices.ContainsFunc(x.Rounds, func(s suite.Round) bool { return len(s.Reference) == 0 }) {
			continue
		}
		one.pace = make([]float64, len(x.Rounds))
		for k, s := range x.Rounds {
			byThreads[x.Threads] = append(byThreads[x.Threads], moment{one, k, s.Began, suite.Summarise(s.Reference).Median})
		}
	}
	for _, moments := range byThreads {
		slices.SortStableFunc(moments, func(a, b moment) int { return a.began.Compare(b.began) })
		for i, m := range moments {
			from := max(0, min(i-near/2, len(moments)-near))
			var around []float64
			for _, other := range moments[from:min(from+near, len(moments))] {
				around = append(around, other.seconds)
			}
			m.of.pace[m.place] = math.Log(suite.Summarise(around).Median)
		}
	}
	return all
}

// divided are the times by the pace.
func (r *rounds) divided() *rounds {
	out := &rounds{pace: r.pace}
	for i, x := range r.values {
		out.values = append(out.values, x-r.pace[i])
	}
	return out
}

func (r *rounds) time() Time { return Time{math.Exp(mean(r.values)), len(r.values)} }

// spreads are the half widths of the intervals of all records, as shares of the time, by
// key; infinite where there are not rounds enough.
func spreads(r *suite.Results) map[string]float64 {
	var own []variance
	all, out := roundsOf(r), map[string]float64{}
	for i := range r.Records {
		own = append(own, variation(all[r.Records[i].Key()].values))
	}
	prior := priorOf(own)
	for i := range r.Records {
		x := &r.Records[i]
		out[x.Key()] = math.Expm1(own[i].with(prior).half(1 / float64(len(x.Rounds))))
	}
	return out
}

// byChance is the number of verdicts of which n records have more by chance alone in
// less than one comparison of a hundred, if records are independent of each other.
func byChance(n int) int {
	b := distuv.Binomial{N: float64(n), P: 1 - confidence}
	k := 0
	for 1-b.CDF(float64(k)) > 0.01 {
		k++
	}
	return k
}
