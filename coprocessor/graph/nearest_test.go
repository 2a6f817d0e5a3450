package graph

import (
	"maps"
	"slices"
	"testing"
)

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"ad": "add", "slect": "select", "subb": "sub", "mul_dvi": "mul_div", "a": "", "": "", "frobnicate": "",
		"selct": "select", "sleect": "select", "Add": "add", "add": "add",
	} {
		if got := Nearest(word, maps.Keys(opsByName)); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
	if got := Nearest("ab", slices.Values([]string{"ac", "abc", "zb"})); got != "abc" {
		t.Errorf("of equals, %q", got)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}, {"ab", "ba", 1}, {"amuont", "amount", 1},
	} {
		if got := distance(c.a, c.b, 100); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.a, c.b, 2); got != min(c.want, 2) {
			t.Errorf("%q, %q below 2: %d", c.a, c.b, got)
		}
	}
}
