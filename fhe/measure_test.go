package fhe

import "testing"

func TestSmallPhase(t *testing.T) {
	sk := &SecretKey{small: []uint64{1<<64 - 1, 0, 1<<64 - 1}}
	for _, c := range []struct {
		lwe  []uint32
		want uint32
	}{
		{[]uint32{0, 0, 0, 7}, 7},
		{[]uint32{1, 1 << 31, 3, 9}, 5},
		{[]uint32{1 << 31, 5, 1 << 31, 2}, 2},
		{[]uint32{1, 5, 1, 1}, 1<<32 - 1},
	} {
		if got := sk.SmallPhase(c.lwe); got != c.want {
			t.Errorf("%d: got %d, want %d", c.lwe, got, c.want)
		}
	}
}

func TestEncryptionKeysAreThoseOfTheSeed(t *testing.T) {
	ks := keys(t, TestPreset)
	sk, pk, err := EncryptionKeys(ks.Secret.Parameters(), testSeed("keys"), backend(t))
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range ks.Secret.big {
		if sk.big[i] != m {
			t.Fatalf("bit %d of the big key differs", i)
		}
	}
	for i, r := range ks.Public.body[0] {
		if pk.body[0][i] != r {
			t.Fatalf("residue %d of the public key differs", i)
		}
	}
}
