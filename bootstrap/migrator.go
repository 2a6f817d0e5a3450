package bootstrap

import (
	"context"
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
	switcher accel.KeySwitcher
	eval     *Evaluator
}

// NewMigrator prepares a migration key. The evaluator is that of the new key set; its
// parameters must be the new ones.
func NewMigrator(key *fhe.MigrationKey, eval *Evaluator, backend accel.Backend) (*Migrator, error) {
	if got, want := eval.params.Fingerprint(), key.ToParameters().Fingerprint(); got != want {
		return nil, &fhe.MigrationError{
			From: key.FromParameters().Name(), To: key.ToParameters().Name(), Reason: "the evaluation key is one of " + eval.params.Name(),
		}
	}
	switcher, err := backend.KeySwitcher(key.KeySwitch(), key.KeySwitchRows)
	if err != nil {
		return nil, fmt.Errorf("prepare the migration key: %w", err)
	}
	return &Migrator{key, switcher, eval}, nil
}

// Migrate returns ciphertexts of the new key with the messages of those of the old
// one, whose bounds they keep but for the noise. It runs on the calling goroutine, at
// most MaxBatch ciphertexts at a time, and stops between batches when ctx ends. All
// are checked before the first is computed: the error is a *TaskError.
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
	batch := make([]*fhe.PBS, 0, MaxBatch)
	for i := range tasks {
		batch = append(batch, &tasks[i])
		if len(batch) == MaxBatch || i == len(tasks)-1 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			m.eval.runFrom(m.switcher, batch)
			batch = batch[:0]
		}
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
