//go:build !cuda && (nogpu || !(linux && (amd64 || arm64)))

package cuda

import (
	"errors"

	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
)

func find() (driver.Driver, error) {
	return nil, errors.New("this build has no CUDA driver: it takes Linux on amd64 or arm64, and no tag nogpu")
}
