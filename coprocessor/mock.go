package coprocessor

import (
	"fmt"

	"github.com/tacit-fhe/tacit/accel"
)

// MockBackend is the name of the backend of a service that is a mock, in GetInfo and in
// every receipt.
const MockBackend = "mock"

// mockBackend is a backend under the name of a mock, which asks it for keys alone.
type mockBackend struct{ accel.Backend }

func (mockBackend) Info() accel.Info { return accel.Info{Name: MockBackend} }

// MockError refuses to compute on plaintexts with parameters that protect ciphertexts,
// and the other way round.
type MockError struct {
	Parameters string
	Mock       bool
	Reason     string
}

func (e *MockError) Error() string {
	if e.Mock {
		return fmt.Sprintf("a mock does not serve %s: %s", e.Parameters, e.Reason)
	}
	return fmt.Sprintf("only a mock serves %s: %s", e.Parameters, e.Reason)
}

// checkMock returns a *MockError for options that do not go together.
func (o *Options) checkMock() error {
	switch clear := o.Params.Clear(); {
	case o.Mock && !clear:
		return &MockError{o.Params.Name(), true, "its keys protect ciphertexts"}
	case !o.Mock && clear:
		return &MockError{o.Params.Name(), false, "its ciphertexts are plaintexts"}
	case o.Mock && o.Store != nil:
		return &MockError{o.Params.Name(), true, "it keeps everything in memory, and has no store to share"}
	}
	return nil
}
