package leveled

import (
	"errors"
	"testing"
)

// TestPresets checks every named set against the security table.
func TestPresets(t *testing.T) {
	for _, name := range Names() {
		p, err := ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if s := p.Security(); s.LogQP > s.Limit || s.SparseLogQP > s.SparseLimit || s.Limit < 200 || p.Bootstraps() != (s.SparseLogQP > 0) {
			t.Errorf("%s: %+v", name, s)
		}
		if ByFingerprint(p.Fingerprint()) != p {
			t.Errorf("%s has another fingerprint", name)
		}
		lit := p.Literal()
		if again, err := NewParameters(lit); err != nil || again.Fingerprint() != p.Fingerprint() {
			t.Errorf("%s from its literal: %v", name, err)
		}
		for _, public := range []bool{true, false} {
			if n, err := p.FreshNoise(public, 0); err != nil || p.Room(n) < 100 {
				t.Errorf("%s: fresh noise %+v, %v", name, n, err)
			}
		}
	}
	if len(fingerprints) != len(presets) {
		t.Errorf("%d fingerprints of %d sets", len(fingerprints), len(presets))
	}
	if _, err := ByName("x"); !errors.As(err, new(*UnknownError)) {
		t.Errorf("got %v", err)
	}
	if ByFingerprint([32]byte{}) != nil {
		t.Error("a set with the fingerprint 0")
	}
}

func TestNewParametersRefuses(t *testing.T) {
	good := Literal{Name: "x", Scheme: BGV, LogN: 13, PlaintextModulus: 65537, LogQ: []int{42, 38}, LogP: []int{56}}
	real := Literal{Name: "x", Scheme: CKKS, LogN: 13, LogScale: 30, LogQ: []int{42, 38}, LogP: []int{56}}
	boot := presets[len(presets)-1]
	for _, lit := range []Literal{good, real} {
		if _, err := NewParameters(lit); err != nil {
			t.Fatal(err)
		}
	}
	for what, lit := range map[string]Literal{
		"no name":       {Scheme: BGV, LogN: 13, PlaintextModulus: 65537, LogQ: []int{42}, LogP: []int{56}},
		"scheme":        with(good, func(l *Literal) { l.Scheme = 4 }),
		"small ring":    with(good, func(l *Literal) { l.LogN = 11 }),
		"no P":          with(good, func(l *Literal) { l.LogP = nil }),
		"no Q":          with(good, func(l *Literal) { l.LogQ = nil }),
		"prime size":    with(good, func(l *Literal) { l.LogQ = []int{61} }),
		"t = 1":         with(good, func(l *Literal) { l.PlaintextModulus = 1 }),
		"t not 1":       with(good, func(l *Literal) { l.PlaintextModulus = 65539 }),
		"t no prime":    with(good, func(l *Literal) { l.PlaintextModulus = 5*16384 + 1 }),
		"t over a q":    with(good, func(l *Literal) { l.LogQ = []int{42, 20}; l.PlaintextModulus = 4293918721 }),
		"scale of bgv":  with(good, func(l *Literal) { l.LogScale = 30 }),
		"no scale":      with(real, func(l *Literal) { l.LogScale = 0 }),
		"t of ckks":     with(real, func(l *Literal) { l.PlaintextModulus = 65537 }),
		"bootstrap bgv": with(good, func(l *Literal) { l.Bootstrap = boot.Bootstrap }),
		"message ratio": with(boot, func(l *Literal) { l.LogScale = 50; l.LogQ = []int{55, 50} }),
		"slots":         with(boot, func(l *Literal) { b := *l.Bootstrap; b.LogSlots = 16; l.Bootstrap = &b }),
	} {
		if _, err := NewParameters(lit); !errors.As(err, new(*ParametersError)) {
			t.Errorf("%s: got %v, want a ParametersError", what, err)
		}
	}
	for what, lit := range map[string]Literal{
		"one bit over":  with(good, func(l *Literal) { l.LogQ = []int{42, 40, 40, 37} }), // 159 + 56 = 215
		"far over":      with(good, func(l *Literal) { l.LogQ = []int{60, 60, 60, 60} }),
		"bootstrapping": with(boot, func(l *Literal) { l.LogQ = []int{60, 45, 45, 45, 45, 45, 45, 45, 45, 45} }),
		"sparse secret, whose table has no such ring": with(boot, func(l *Literal) {
			l.LogN, l.LogQ, l.LogP = 15, []int{53, 40}, []int{40}
			l.LogScale = 40
			l.Bootstrap = &BootstrapLiteral{LogSlots: 8, SlotsToCoeffs: []int{30}, CoeffsToSlots: []int{45}, EvalMod: 50}
		}),
	} {
		if _, err := NewParameters(lit); !errors.As(err, new(*SecurityError)) {
			t.Errorf("%s: got %v, want a SecurityError", what, err)
		}
	}
}

func with(l Literal, change func(*Literal)) Literal {
	change(&l)
	return l
}
