//go:build cuda

package cuda

import (
	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
	"github.com/tacit-fhe/tacit/accel/cuda/internal/gorgonia"
)

func find() (driver.Driver, error) { return gorgonia.Open() }
