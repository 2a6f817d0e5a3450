package graph

import (
	"iter"
	"slices"
)

// Nearest returns the word of known that word was likely meant to be, or "" when none
// is near: one in which at most a third of its letters, and at least one, may be wrong.
// Of several that are as near it is the first in the order of the alphabet.
func Nearest(word string, known iter.Seq[string]) string {
	near, least := "", min(max(len(word)/3, 1), len(word)-1)+1
	for _, k := range slices.Sorted(known) {
		if d := distance(word, k, least); d < least {
			near, least = k, d
		}
	}
	return near
}

// distance is the least number of letters to put in, take out, change or exchange with
// the next that makes b of a (optimal string alignment), or limit when it is not below.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	d := make([][]int, len(a)+1) // of the first i letters of a and the first j of b
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			changed := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				changed++
			}
			d[i][j] = min(changed, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return min(d[len(a)][len(b)], limit)
}
