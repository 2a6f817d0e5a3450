package accel

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/tacit-fhe/tacit/accel/internal/xof"
)

// selfTestDigests are the known answers of SelfTest.
var selfTestDigests = map[string]string{
	"NTT":    "f74b7df93450b4d79c1bc4b04234af86aca60b9a727eb9d410890663048c5c0b",
	"Rotate": "a9754a8bf6a03290678de40c3156039b491ff8dc868ef8fb702b81ab57427e69",
	"Switch": "b96cf8bfc2b03e5ecb53452061c1522ca1e337c6fede0542665d5ecf4c757e27",
}

// SelfTest computes one transform, one small blind rotation and one small key
// switch, and compares the results with known answers. It takes a few
// milliseconds and is meant for the start of a process: a processor, compiler or driver
// that computes wrongly is found before it touches a ciphertext.
func SelfTest(b Backend) error {
	const q = 1<<48 - 393215
	check := func(name string, data any) error {
		h := sha256.New()
		if err := binary.Write(h, binary.LittleEndian, data); err != nil {
			return fmt.Errorf("accel: self-test: %s: %w", name, err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != selfTestDigests[name] {
			return fmt.Errorf("accel: self-test of backend %q: %s computes wrongly: digest %s, want %s", b.Info().Name, name, got, selfTestDigests[name])
		}
		return nil
	}

	ring, err := b.Ring(2048, q)
	if err != nil {
		return fmt.Errorf("accel: self-test: %w", err)
	}
	poly := make([]uint64, ring.N())
	xof.New("self-test NTT").Residues(poly, q)
	ring.NTT(poly, poly)
	if err := check("NTT", poly); err != nil {
		return err
	}

	spec := RotatorSpec{N: 2048, Rank: 1, Q: q, BaseLog: 22, Levels: 1, Steps: 2}
	rotator, err := b.Rotator(spec, func(i int, dst []uint64) {
		xof.New(fmt.Sprintf("self-test GGSW %d", i)).Residues(dst, q)
	})
	if err != nil {
		return fmt.Errorf("accel: self-test: %w", err)
	}
	acc := make([]uint64, 2*spec.N)
	xof.New("self-test accumulator").Residues(acc, q)
	rotator.Rotate([][]uint64{acc}, [][]uint32{{1234, 2345}})
	if err := check("Rotate", acc); err != nil {
		return err
	}

	switchSpec := KeySwitchSpec{NIn: 64, NOut: 70, Q: q, BaseLog: 2, Levels: 8}
	switcher, err := b.KeySwitcher(switchSpec, func(i int, dst []uint32) {
		xof.New(fmt.Sprintf("self-test rows %d", i)).Words(dst)
	})
	if err != nil {
		return fmt.Errorf("accel: self-test: %w", err)
	}
	in := make([]uint64, switchSpec.NIn+1)
	xof.New("self-test LWE").Residues(in, q)
	out := make([]uint32, switchSpec.NOut+1)
	switcher.Switch([][]uint32{out}, [][]uint64{in})
	return check("Switch", out)
}
