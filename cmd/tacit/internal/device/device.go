// Package device chooses what computes: GPUs, which the processor helps where that
// pays and stands in for where they fail, or the processor alone.
package device

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/accel/cuda"
)

// The names of devices; CUDA takes indices: cuda:0 or cuda:0,1.
const (
	Auto = "auto"
	CPU  = "cpu"
	CUDA = "cuda"
)

// NameError is a name that no device has.
type NameError struct{ Name string }

func (e *NameError) Error() string {
	return fmt.Sprintf("device %q is not auto, cpu, cuda, cuda:0 or cuda:0,1", e.Name)
}

// parse returns what a name begins with and the indices, nil for all.
func parse(name string) (kind string, indices []int, err error) {
	kind, list, listed := strings.Cut(name, ":")
	if kind != CUDA && (listed || kind != Auto && kind != CPU) {
		return "", nil, &NameError{name}
	}
	seen := make(map[int]bool)
	for text := range strings.SplitSeq(list, ",") {
		if !listed {
			break
		}
		i, err := strconv.Atoi(text)
		if err != nil || i < 0 || seen[i] {
			return "", nil, &NameError{name}
		}
		seen[i] = true
		indices = append(indices, i)
	}
	return kind, indices, nil
}

// Open returns the backend of a name. Auto takes all GPUs if there are any that work,
// and otherwise the processor; why says then what is wrong with them. report is
// told of GPUs that fail later. The error is a *NameError, or what is wrong with the
// device that was asked for.
func Open(name string, report func(error)) (backend accel.Backend, why, err error) {
	return open(name, cuda.New, report)
}

func open(name string, newCUDA func(cuda.Options) (*cuda.Backend, error), report func(error)) (backend accel.Backend, why, err error) {
	kind, indices, err := parse(name)
	if err != nil {
		return nil, nil, err
	}
	processor, err := cpu.New()
	if err != nil || kind == CPU {
		return processor, nil, err
	}
	gpu, why := newCUDA(cuda.Options{Host: processor, Devices: indices, Report: report})
	switch {
	case why == nil:
		return gpu, nil, nil
	case kind == Auto:
		return processor, why, nil
	}
	return nil, nil, errors.Join(why, processor.Close())
}
