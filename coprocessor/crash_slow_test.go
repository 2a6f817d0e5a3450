//go:build slow

package coprocessor

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestKillOften is TestKill with as many kills as to trust a server; about five
// minutes.
func TestKillOften(t *testing.T) {
	storm(t, &process{t: t, dir: t.TempDir()}, 220, func(p *process, rng *rand.Rand, _ int) {
		time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
		p.kill()
		p.start()
	})
}
