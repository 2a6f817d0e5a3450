//go:build slow

package suite

import (
	"errors"
	"flag"
	"slices"
	"testing"

	"github.com/tacit-fhe/tacit/bench/peers"
	"github.com/tacit-fhe/tacit/bench/workloads"
	"github.com/tacit-fhe/tacit/fhe/leveled"
)

var adapterKeys = flag.Int("adapter-keys", 3, "keys that TestAdapters makes for each workload and size")

// TestEveryWorkloadOnVectors is TestVectors for every workload.
func TestEveryWorkloadOnVectors(t *testing.T) {
	for _, s := range []leveled.Scheme{leveled.BGV, leveled.BFV, leveled.CKKS} {
		testVectors(t, NewLeveled(s), smallest())
	}
}

// TestAdapters holds every workload of every installed adapter, in all sizes and alone
// and in batches, against its oracle, with new keys each time: parameters that are too small
// show in some keys alone. An adapter keeps its set from one key to the next.
func TestAdapters(t *testing.T) {
	manifests, err := peers.Find("../peers/adapters")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifests {
		t.Run(m.Name(), func(t *testing.T) {
			a, err := m.Start(t.Context())
			if errors.As(err, new(*peers.AbsentError)) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			keys := *adapterKeys
			for _, w := range workloads.All {
				if !slices.ContainsFunc(a.Schemes, func(s peers.SchemeOffered) bool { return slices.Contains(s.Workloads, w.Name) }) {
					continue
				}
				t.Run(w.Name, func(t *testing.T) {
					o := Options{Backend: backend(t), Rounds: keys, Samples: keys, Threads: []int{1}}
					for _, size := range w.Sizes {
						o.Jobs = append(o.Jobs, Job{w, size})
					}
					r, err := RunPeer(t.Context(), o, a)
					if err != nil {
						t.Fatal(err)
					}
					for _, x := range r.Records {
						t.Logf("%s: %d items right", x.Key(), x.Trials)
						if len(x.Rounds) != keys {
							t.Errorf("%s: %d keys of %d", x.Key(), len(x.Rounds), keys)
						}
					}
				})
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
