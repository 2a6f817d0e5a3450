package host

import "testing"

func TestGrowth(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		live, others, floor int64
		want                int
	}{
		{0, 0, 512 * mb, 12800}, {mb, 0, 512 * mb, 12775}, {4 * mb, 4 * mb, 512 * mb, 6350}, {64 * mb, 0, 512 * mb, 700},
		{200 * mb, 0, 512 * mb, 156}, {200 * mb, 100 * mb, 512 * mb, 104}, {256 * mb, 0, 512 * mb, 100}, {409 * mb, 0, 512 * mb, 25}, {411 * mb, 0, 512 * mb, 25},
		{4096 * mb, 0, 512 * mb, 25}, {64 * mb, 0, 0, 25},
	} {
		if got := growth(c.live, c.others, c.floor); got != c.want {
			t.Errorf("%d bytes live, %d others, floor %d: %d, want %d", c.live, c.others, c.floor, got, c.want)
		}
	}
}
