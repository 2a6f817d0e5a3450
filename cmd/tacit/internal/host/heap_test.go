package host

import "testing"

func TestPercent(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		live, floor int64
		want        int
	}{
		{0, 512 * mb, 51100}, {mb, 512 * mb, 51100}, {64 * mb, 512 * mb, 700}, {200 * mb, 512 * mb, 156},
		{256 * mb, 512 * mb, 100}, {257 * mb, 512 * mb, 100}, {4096 * mb, 512 * mb, 100}, {64 * mb, 0, 100},
	} {
		if got := percent(c.live, c.floor); got != c.want {
			t.Errorf("%d bytes live, floor %d: %d, want %d", c.live, c.floor, got, c.want)
		}
	}
}
