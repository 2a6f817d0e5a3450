package suite

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tacit-fhe/tacit/bench/peers"
	"github.com/tacit-fhe/tacit/bench/workloads"
)

// The test binary is an adapter where this variable says which.
const fakeVariable = "TACIT_TEST_ADAPTER"

func TestMain(m *testing.M) {
	if kind := os.Getenv(fakeVariable); kind != "" {
		fake(kind)
		return
	}
	os.Exit(m.Run())
}

// fake counts votes in the clear.
func fake(kind string) {
	security := 128
	if kind == "insecure" {
		security = 80
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var r struct {
			Command string
			Items   [][]string
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			fmt.Println(`{"error": "no request"}`)
			continue
		}
		switch r.Command {
		case "describe":
			fmt.Println(`{"protocol": 1, "library": "fake", "version": "2", "schemes": [{"scheme": "bgv", "workloads": ["votes"]}]}`)
		case "setup":
			fmt.Printf(`{"set": "clear", "security_bits": %d, "keygen_seconds": 0.5, "capacity": 3}`+"\n", security)
		case "run":
			var results [][]string
			for _, item := range r.Items {
				yes := 0
				for _, x := range item {
					if x == "1" && kind != "wrong" {
						yes++
					}
				}
				results = append(results, []string{fmt.Sprint(yes)})
			}
			text, err := json.Marshal(results)
			if err != nil {
				panic(err)
			}
			fmt.Printf(`{"results": %s, "seconds": {"encrypt": 0.1, "compute": 0.2, "decrypt": 0.1}, "request_bytes": 5, "response_bytes": 4}`+"\n", text)
		}
	}
}

func TestRunPeer(t *testing.T) {
	o := Options{
		Backend: backend(t), Samples: 2, Out: filepath.Join(t.TempDir(), "results.json"),
		Jobs: []Job{{workloads.Get("votes"), 16}, {workloads.Get("votes"), 64}, {workloads.Get("sort"), 4}},
	}
	run := func(kind string) (*Results, error) {
		t.Setenv(fakeVariable, kind)
		a, err := peers.Start(t.Context(), os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		r, err := RunPeer(t.Context(), o, a)
		if e := a.Close(); e != nil {
			t.Error(e)
		}
		return r, err
	}
	if _, err := run("insecure"); !errors.As(err, new(*SecurityError)) {
		t.Errorf("80 bits: %v", err)
	}
	if _, err := run("wrong"); !errors.As(err, new(*WrongError)) {
		t.Errorf("wrong results: %v", err)
	}
	for range 2 { // the second time there is nothing left to measure
		r, err := run("good")
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Records) != 4 || len(r.Sets) != 1 || r.Sets[0].Library != "fake 2" {
			t.Fatalf("%d records, sets %+v", len(r.Records), r.Sets)
		}
		x := r.Find(fmt.Sprintf("votes/64/fake-bgv/clear/batch/%d", r.Machine.Cores))
		if x == nil || x.Items != 3 || x.PerItem().Median != 0.2/3 || len(x.Rounds) != 2 || x.Trials != 3*(2+len(x.Samples().Compute)) {
			t.Errorf("%+v", x)
		}
	}
	if r, err := Load(o.Out); err != nil || len(r.Records) != 4 {
		t.Errorf("the file: %v", err)
	}
	o.Out, o.Limit = filepath.Join(t.TempDir(), "results.json"), 1 // a nanosecond
	for range 2 {
		if r, err := run("good"); err != nil || len(r.Records) != 0 || len(r.Skipped) != 4 || r.Skipped[0].Scheme != "fake-bgv" {
			t.Errorf("no time: %+v, %v", r, err)
		}
	}
}

// TestSharedPrograms compiles an adapter that computes in the clear with the programs
// that the adapters in C++ share, and holds every workload of theirs against its oracle.
func TestSharedPrograms(t *testing.T) {
	program := filepath.Join(t.TempDir(), "clear")
	if err := exec.Command("g++", "-std=c++17", "-fsyntax-only", "-include", "nlohmann/json.hpp", "-x", "c++", os.DevNull).Run(); err != nil {
		t.Skip("no C++ compiler with nlohmann-json: ", err)
	}
	if out, err := exec.Command("g++", "-std=c++17", "-o", program, "../peers/adapters/common/testdata/clear.cpp").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	a, err := peers.Start(t.Context(), program)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Backend: backend(t), Rounds: 1, Samples: 1, AllowInsecure: true, Out: filepath.Join(t.TempDir(), "results.json")}
	for _, name := range a.Schemes[1].Workloads { // of CKKS, which runs all
		w := workloads.Get(name)
		if w == nil || w.Vectors == nil {
			t.Errorf("there is no workload %s on vectors", name)
			continue
		}
		for _, size := range w.Sizes {
			o.Jobs = append(o.Jobs, Job{w, size})
		}
	}
	r, err := RunPeer(t.Context(), o, a)
	if err := errors.Join(err, a.Close()); err != nil {
		t.Fatal(err)
	}
	if len(a.Schemes[0].Workloads) != len(a.Schemes[1].Workloads)-1 || len(r.Records) < 4*len(a.Schemes[0].Workloads) {
		t.Errorf("%+v, %d records", a.Schemes, len(r.Records))
	}
	// Of its parameters BGV takes those that keep the margin of noise with the least work,
	// and not the first that are accepted, as CKKS does.
	for _, x := range r.Records {
		if want := map[string]string{"clear-bgv": "clear2", "clear-ckks": "clear1"}[x.Scheme]; x.Set != want {
			t.Errorf("%s: not %s", x.Key(), want)
		}
	}
}
