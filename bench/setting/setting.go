// Package setting describes what a measurement was made with, so that a figure
// can be compared with another or made again, and makes the bootstraps that are
// measured.
package setting

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/fhe"
)

// Parameters describes the parameter set.
type Parameters struct {
	Name             string  `json:"name"`
	Fingerprint      string  `json:"fingerprint"`
	Modulus          uint64  `json:"modulus"`
	PolynomialSize   int     `json:"polynomial_size"`
	Rank             int     `json:"rank"`
	LWEDimension     int     `json:"lwe_dimension"`
	Unroll           int     `json:"unroll,omitempty"`
	BlockSize        int     `json:"block_size,omitempty"`
	BootstrapBaseLog int     `json:"bootstrap_base_log"`
	BootstrapLevels  int     `json:"bootstrap_levels"`
	KeySwitchBaseLog int     `json:"key_switch_base_log"`
	KeySwitchLevels  int     `json:"key_switch_levels"`
	GLWENoise        int     `json:"glwe_noise_tuniform"`
	LWENoise         int     `json:"lwe_noise_tuniform"`
	Boxes            int     `json:"boxes"`
	NormSquared      float64 `json:"norm_squared"`
}

// CPU describes what computed.
type CPU struct {
	Model    string   `json:"model"`
	Arch     string   `json:"arch"`
	Backend  string   `json:"backend"`
	Features []string `json:"features,omitempty"`
}

// OfParameters describes a parameter set.
func OfParameters(p *fhe.Parameters) Parameters {
	l := p.Literal()
	return Parameters{
		Name: l.Name, Fingerprint: fmt.Sprintf("%x", p.Fingerprint()), Modulus: l.Modulus,
		PolynomialSize: l.PolynomialSize, Rank: l.Rank, LWEDimension: l.LWEDimension,
		Unroll: l.Unroll, BlockSize: l.BlockSize,
		BootstrapBaseLog: l.BootstrapGadget.BaseLog, BootstrapLevels: l.BootstrapGadget.Levels,
		KeySwitchBaseLog: l.KeySwitchGadget.BaseLog, KeySwitchLevels: l.KeySwitchGadget.Levels,
		GLWENoise: l.GLWENoise, LWENoise: l.LWENoise, Boxes: p.Boxes(), NormSquared: l.NormSquared,
	}
}

// OfCPU describes this machine as a backend uses it.
func OfCPU(b accel.Backend) CPU {
	info := b.Info()
	return CPU{Model: cpuModel(), Arch: runtime.GOARCH, Backend: info.Name, Features: info.Features}
}

// cpuModel is the processor's name where the system tells it in /proc/cpuinfo.
func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// Bootstraps are tasks whose inputs are fresh encryptions of every message in turn.
func Bootstraps(sk *fhe.SecretKey, lut *fhe.LUT, count int) []fhe.PBS {
	p := sk.Parameters()
	messages := make([]int64, count)
	for i := range messages {
		messages[i] = int64(i) & p.MessageMax()
	}
	e := sk.Encrypt(fhe.NewSeed(), messages)
	tasks := make([]fhe.PBS, count)
	for i := range tasks {
		tasks[i] = fhe.PBS{In: e.LWE(p, i, p.MessageMax()), LUT: lut}
	}
	return tasks
}
