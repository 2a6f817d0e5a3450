package codec

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func TestCutResidues(t *testing.T) {
	for drop := range 48 {
		unit := uint64(1) << drop
		for _, n := range []int{0, 1, 2, 3, 8, 1025} {
			v := make([]uint64, n)
			for i := range v {
				v[i] = uint64(i+1) * 0x9e3779b97f4a7c15 % testQ / unit * unit
			}
			if n > 2 {
				v[0], v[1] = 0, (testQ-1)/unit*unit
			}
			var b bytes.Buffer
			e := NewEncoder(&b)
			e.CutResidues(v, drop, testQ)
			if want := (n*(48-drop) + 7) / 8; e.Err() != nil || b.Len() != want {
				t.Fatalf("drop %d: %d residues in %d bytes, want %d: %v", drop, n, b.Len(), want, e.Err())
			}
			for _, d := range []*Decoder{NewBytesDecoder(b.Bytes()), NewDecoder(bytes.NewReader(b.Bytes()), uint64(b.Len()))} {
				got := d.CutResidues("v", n, drop, testQ)
				if err := d.Finish(); err != nil || !slices.Equal(got, v) {
					t.Fatalf("drop %d, %d residues: %v", drop, n, err)
				}
			}
		}
	}
	// Without a cut the bytes are those of Residues.
	var cut, whole bytes.Buffer
	v := []uint64{1, testQ - 1, 1 << 40}
	NewEncoder(&cut).CutResidues(v, 0, testQ)
	NewEncoder(&whole).Residues(v, testQ)
	if !bytes.Equal(cut.Bytes(), whole.Bytes()) {
		t.Errorf("%x, want %x", cut.Bytes(), whole.Bytes())
	}
}

func TestCutResiduesRefuses(t *testing.T) {
	var rerr *ResidueError
	for _, x := range []uint64{testQ, 1 << 48, 3} {
		e := NewEncoder(new(bytes.Buffer))
		e.CutResidues([]uint64{0, x}, 2, 1<<47)
		if !errors.As(e.Err(), &rerr) || rerr.Index != 1 || rerr.Value != x {
			t.Errorf("%d: %v", x, e.Err())
		}
	}
	var lerr *LimitError
	e := NewEncoder(new(bytes.Buffer))
	e.CutResidues(nil, 2, MaxModulus+1)
	if !errors.As(e.Err(), &lerr) {
		t.Errorf("modulus: %v", e.Err())
	}
	d := NewBytesDecoder([]byte{0xff, 0xff, 0xff})
	if d.CutResidues("v", 1, 24, 1<<47); !errors.As(d.Err(), &rerr) || rerr.Place != "v" || rerr.Value != 0xffffff000000 {
		t.Errorf("over the modulus: %v", d.Err())
	}
	for last, want := range map[byte]error{0x0f: nil, 0x1f: ErrPadding, 0x80: ErrPadding} {
		d := NewBytesDecoder([]byte{0, last})
		if d.CutResidues("v", 1, 36, MaxModulus); !errors.Is(d.Err(), want) {
			t.Errorf("last byte %x: %v", last, d.Err())
		}
	}
	var terr *TruncatedError
	d = NewBytesDecoder(make([]byte, 4))
	if d.CutResidues("v", 2, 28, testQ); !errors.As(d.Err(), &terr) || terr.Need != 5 {
		t.Errorf("truncated: %v", d.Err())
	}
}
