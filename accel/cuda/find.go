package cuda

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
)

// Device describes a device that was found.
type Device struct {
	Index           int    `json:"index"`
	Name            string `json:"name"`
	Driver          int    `json:"driver"`             // newest CUDA version that the driver knows: 1000*major + 10*minor
	Capability      int    `json:"compute_capability"` // 10*major + minor
	Memory          int64  `json:"memory"`             // bytes
	Multiprocessors int    `json:"multiprocessors"`
	SharedMemory    int    `json:"shared_memory"` // bytes a block
	ClockKHz        int    `json:"clock_khz"`     // the highest
}

// Find returns the driver's implementation and the devices. The error says why there
// is none.
func Find() (implementation string, devices []Device, err error) {
	d, err := find()
	if err != nil {
		return "", nil, err
	}
	all, err := d.Devices()
	for i, p := range all {
		devices = append(devices, describe(i, p))
	}
	return d.Name(), devices, err
}

func describe(index int, p driver.Properties) Device {
	return Device{index, p.Name, p.Driver, p.Capability, p.Memory, p.Multiprocessors, p.SharedMemory, p.ClockKHz}
}

// Devices describes the devices of the backend.
func (b *Backend) Devices() []Device {
	var all []Device
	for _, d := range b.devices {
		all = append(all, describe(d.index, d.properties))
	}
	return all
}

// KernelDigest is the SHA-256 of the kernels' PTX.
func KernelDigest() string {
	h := sha256.New()
	for _, text := range kernelNames {
		h.Write([]byte(*text.ptx))
	}
	return hex.EncodeToString(h.Sum(nil))
}
