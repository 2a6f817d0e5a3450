//go:build linux && (amd64 || arm64) && !cuda && !nogpu

package cuda

import (
	"github.com/tacit-fhe/tacit/accel/cuda/internal/dlopen"
	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
)

func find() (driver.Driver, error) { return dlopen.Open() }
