package leveled

import (
	"encoding/hex"
	"errors"
	"testing"
)

// TestPresets checks every named set against the security table and pins its fingerprint: a change of it, by
// us or by a change of lattigo's search for primes, breaks every stored object.
func TestPresets(t *testing.T) {
	for _, name := range Names() {
		p, err := ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		s := p.Security()
		t.Logf("%-12s logQP %.2f of %.0f, levels %d, slots %d, fingerprint %s", name, s.LogQP, s.Limit, p.Levels(), p.Slots(), hex.EncodeToString(p.fingerprint[:4]))
		if s.LogQP > s.Limit || s.SparseLogQP > s.SparseLimit {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if _, err := ByName("x"); !errors.As(err, new(*UnknownError)) {
		t.Errorf("got %v", err)
	}
}
