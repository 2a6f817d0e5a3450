package bootstrap

import (
	"context"
	"errors"
	"fmt"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/fhe"
)

// Migrator turns ciphertexts of one key set into ciphertexts of another, each with
// one bootstrap under the new evaluation key whose key switch starts from the old big
// key. What comes out is as good as any bootstrap output. Its arithmetic is exact: the
// same ciphertexts and keys give the same bits on every backend. It is safe for
// concurrent use.
type Migrator struct {
	key      *fhe.MigrationKey
	switcher accel.KeySwitcher // the processor's
	device   accel.PBS         // nil if the evaluator has no device
	resident accel.KeySwitcher // the backend's
	eval     *Evaluator
}

// NewMigrator prepares a migration key on the backend of the evaluator, which is that of
// the new key set and has its parameters. Close gives back what the migrator holds on
// devices.
func NewMigrator(key *fhe.MigrationKey, eval *Evaluator) (*Migrator, error) {
	if got, want := eval.params.Fingerprint(), key.ToParameters().Fingerprint(); got != want {
		return nil, &fhe.MigrationError{
			From: key.FromParameters().Name(), To: key.ToParameters().Name(), Reason: "the evaluation key is one of " + eval.params.Name(),
		}
	}
	switcher, err := eval.backend.KeySwitcher(key.KeySwitch(), key.KeySwitchRows)
	if err != nil {
		return nil, fmt.Errorf("prepare the migration key: %w", err)
	}
	m := &Migrator{key: key, switcher: switcher, resident: switcher, eval: eval}
	if engine, ok := eval.backend.(accel.PBSEngine); ok {
		if m.device, err = engine.PBS(eval.resident, switcher); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare bootstraps on the device: %w", err), m.Close())
		}
		_, m.switcher = m.device.Host()
	}
	return m, nil
}

// Close gives the memory of devices back, as Evaluator.Close does.
func (m *Migrator) Close() error { return closeAll(m.resident) }

// Migrate returns ciphertexts of the new key with the messages of those of the old
// one, whose bounds they keep but for the noise. It runs as Evaluator.Bootstrap does, and
// stops between batches when ctx ends. All are checked before the first is computed: the
// error is a *TaskError.
func (m *Migrator) Migrate(ctx context.Context, in []fhe.LWE) ([]fhe.LWE, error) {
	tables := make(map[[2]int64]*fhe.LUT)
	tasks := make([]fhe.PBS, len(in))
	for i, x := range in {
		if err := m.key.CheckInput(x.Bound); err != nil {
			return nil, &TaskError{i, err}
		}
		domain := [2]int64{x.Bound.Min, x.Bound.Max}
		if tables[domain] == nil {
			lut, err := m.eval.params.NewLUT(x.Bound.Min, x.Bound.Max, func(m int64) int64 { return m })
			if err != nil {
				return nil, &TaskError{i, err}
			}
			tables[domain] = lut
		}
		tasks[i] = fhe.PBS{In: x, LUT: tables[domain]}
	}
	if err := m.eval.inBatches(ctx, tasks, func(batch []*fhe.PBS) { m.eval.runAll(m.device, m.switcher, batch) }); err != nil {
		return nil, err
	}
	out := make([]fhe.LWE, len(tasks))
	for i, t := range tasks {
		out[i] = t.Out[0]
	}
	return out, nil
}

// KeySwitch returns the LWE ciphertext of the new small key modulo 2^32, n mask words
// and the body, that encrypts the message of a ciphertext of the old key.
func (m *Migrator) KeySwitch(in fhe.LWE) []uint32 {
	out := make([]uint32, m.eval.params.Literal().LWEDimension+1)
	m.switcher.Switch([][]uint32{out}, [][]uint64{in.Value})
	return out
}
