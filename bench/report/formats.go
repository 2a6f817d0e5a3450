package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tacit-fhe/tacit/bench/suite"
	"github.com/tacit-fhe/tacit/bench/workloads"
)

// Benchstat writes every sample as a line of the Go benchmark format, so that
// benchstat can summarise and compare files.
func Benchstat(w io.Writer, r *suite.Results) error {
	p := &printer{w: w}
	p.printf("goos: %s\ngoarch: %s\npkg: github.com/tacit-fhe/tacit/bench\ncpu: %s\ncommit: %s\n", r.Machine.OS, r.Machine.CPU.Arch, r.Machine.CPU.Model, r.Build.Commit)
	for _, x := range r.Records {
		for _, s := range x.Samples().Compute {
			p.printf("Benchmark%s/size=%d/scheme=%s/set=%s/mode=%s-%d\t1\t%.0f ns/op\t%.4g request-B/op\t%.4g bootstraps/op\n",
				capital(x.Workload), x.Size, x.Scheme, x.Set, x.Mode, x.Threads, s/float64(x.Items)*1e9, float64(x.RequestBytes)/float64(x.Items), x.Bootstraps)
		}
	}
	return p.err
}

// capital is a name with a capital letter at its beginning, as the format wants it.
func capital(name string) string { return strings.ToUpper(name[:1]) + name[1:] }

// instances are the names of sizes in the fhe-benchmarking layout.
var instances = []string{"toy", "small", "medium", "large", "extra-large", "huge"}

// Layout writes the samples of single items in the layout of
// HomomorphicEncryption.org's fhe-benchmarking submissions: for each workload and
// scheme measurements/<instance>/results-<k>.json with the times of the stages and
// the sizes of what was sent. Files that are there are not overwritten.
func Layout(dir string, r *suite.Results) error {
	keys := map[string]suite.Set{}
	for _, s := range r.Sets {
		keys[s.Scheme+"/"+s.Name] = s
	}
	for _, x := range r.Records {
		if x.Mode != suite.Single {
			continue
		}
		instance := fmt.Sprint(x.Size)
		if w := workloads.Get(x.Workload); w != nil {
			for i, size := range w.Sizes {
				if size == x.Size && i < len(instances) {
					instance = instances[i]
				}
			}
		}
		set := keys[x.Scheme+"/"+x.Set]
		folder := filepath.Join(dir, x.Workload+"-"+x.Scheme, "measurements", fmt.Sprintf("%s-%d-threads", instance, x.Threads))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		samples := x.Samples()
		for k := range samples.Compute {
			data, err := json.MarshalIndent(measurement(x, samples, set, k), "", "  ")
			if err != nil {
				return err
			}
			f, err := os.OpenFile(filepath.Join(folder, fmt.Sprintf("results-%d.json", k+1)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return err
			}
			_, err = f.Write(append(data, '\n'))
			if e := f.Close(); err == nil {
				err = e
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// submission is one file of the layout.
type submission struct {
	Timing    map[string]string `json:"Timing"`
	Bandwidth map[string]string `json:"Bandwidth"`
	Server    map[string]string `json:"Server Reported"`
}

func measurement(x suite.Record, samples suite.Stages, set suite.Set, k int) submission {
	s := submission{map[string]string{}, map[string]string{}, map[string]string{}}
	total := 0.0
	for _, stage := range []struct {
		name  string
		times []float64
	}{
		{"Key Generation", set.KeygenSeconds},
		{"Query encryption", samples.Encrypt},
		{"Encrypted query preprocessing", samples.Load},
		{"Encrypted computation", samples.Compute},
		{"Encrypted result postprocessing", samples.Store},
		{"Result decryption and postprocessing", samples.Decrypt},
	} {
		if len(stage.times) == 0 {
			continue
		}
		t := stage.times[k%len(stage.times)]
		total += t
		s.Timing[stage.name] = fmt.Sprintf("%.4fs", t)
	}
	s.Timing["Total"] = fmt.Sprintf("%.4fs", total)
	s.Bandwidth["Public and evaluation keys"] = short(set.EvaluationBytes + set.PublicBytes)
	s.Bandwidth["Encrypted query"] = short(x.RequestBytes)
	s.Bandwidth["Encrypted results"] = short(x.ResponseBytes)
	return s
}

// short is a size as the layout has it: 115.6M.
func short(n int64) string {
	switch f := float64(n); {
	case f < 1<<10:
		return fmt.Sprintf("%dB", n)
	case f < 1<<20:
		return fmt.Sprintf("%.1fK", f/(1<<10))
	case f < 1<<30:
		return fmt.Sprintf("%.1fM", f/(1<<20))
	default:
		return fmt.Sprintf("%.1fG", f/(1<<30))
	}
}
