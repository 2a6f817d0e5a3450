package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tacit-fhe/tacit/coprocessor/internal/failpoint"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// What a tenant with a budget has used of it in a period is a record of its own in the
// bucket of jobs. Whatever changes what one of the tenant's jobs takes, its submission
// first, is written together with that record, both or none: so what is used is the sum
// of what all jobs of the period take, also of those that have been removed since, however
// many processes submit and whenever one of them dies.

// ledgerPrefix begins the keys of these records: tenant, start and length of the period in
// seconds follow.
const ledgerPrefix = "ledger/"

// ledgerAge is how long a record stays after its period.
const ledgerAge = 24 * time.Hour

// ledger is what the bucket stores for a tenant and a period.
type ledger struct {
	Version int   `json:"version"`
	Used    int64 `json:"used"`
}

// account is a ledger as it was last heard of.
type account struct {
	used int64
	rev  uint64
}

func ledgerKey(tenant string, start time.Time, period time.Duration) string {
	if tenant == "" {
		tenant = "="
	}
	return fmt.Sprintf("%s%s/%d/%d", ledgerPrefix, strings.ReplaceAll(tenant, ".", "="), start.Unix(), int64(period/time.Second))
}

// ledgerEnd is the end of the period of a ledger.
func ledgerEnd(key string) (time.Time, bool) {
	parts := strings.Split(key, "/")
	if len(parts) != 4 {
		return time.Time{}, false
	}
	start, err1 := strconv.ParseInt(parts[2], 10, 64)
	length, err2 := strconv.ParseInt(parts[3], 10, 64)
	return time.Unix(start+length, 0), err1 == nil && err2 == nil
}

func decodeLedger(key string, value []byte) (ledger, error) {
	var l ledger
	err := json.Unmarshal(value, &l)
	if err == nil && l.Version != recordVersion {
		err = fmt.Errorf("version %d, want %d", l.Version, recordVersion)
	}
	if err != nil {
		return ledger{}, &store.DataLossError{Bucket: Records, Key: key, Detail: err.Error()}
	}
	return l, nil
}

// post takes in a ledger, and reports whether that is what a key names.
func (q *Queue) post(key string, value []byte, rev uint64) bool {
	if !strings.HasPrefix(key, ledgerPrefix) {
		return false
	}
	l, err := decodeLedger(key, value)
	if err != nil {
		if len(value) > 0 { // else it is removed
			q.opts.Log.Error("what is used of a budget cannot be read", "error", err)
		}
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if a := q.index.accounts[key]; rev > a.rev {
		q.index.accounts[key] = account{l.Used, rev}
	}
	return true
}

// used returns what a tenant has used of its budget in the period that now is in, and
// that period.
func (x *index) used(t *tenant, p Policy, now time.Time) (used int64, start, end time.Time) {
	used, start, end = x.use(t, p, now)
	if p.Budget > 0 {
		if a, ok := x.accounts[ledgerKey(t.name, start, p.Period)]; ok {
			used = a.used
		}
	}
	return used, start, end
}

// takes is what the job takes from its tenant's budget.
func (r *record) takes() int64 {
	if r.State.Terminal() {
		return r.Spent
	}
	return max(r.Cost, r.Spent)
}

// writeCharged is write for a job whose ledger changes with it. A new job is refused
// with *BudgetError where the budget does not allow it.
func (q *Queue) writeCharged(ctx context.Context, id string, r *record, rev uint64) (uint64, error) {
	select { // one at a time: others of this process would be in vain
	case q.posting <- struct{}{}:
		defer func() { <-q.posting }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	var before uint64
	for try := 0; ; try++ {
		entry, err := q.records.Get(ctx, r.Ledger)
		if rev != 0 && errors.As(err, new(*store.DataLossError)) {
			err, entry = nil, nil
		}
		if err != nil {
			return 0, err
		}
		delta := r.takes() - r.Charged
		if entry == nil && rev != 0 {
			// The period is long over, or nobody can tell.
			r.Charged += delta
			return q.writeAlone(ctx, id, r, rev)
		}
		l, at := ledger{Version: recordVersion}, uint64(0)
		if entry != nil {
			if l, err = decodeLedger(r.Ledger, entry.Value()); err != nil {
				return 0, err
			}
			at = entry.Revision()
		}
		if try > 0 && at == before {
			return 0, errConflict // it is the job that has changed
		}
		before = at
		if rev == 0 {
			if l.Used, err = q.afford(id, r, l.Used, entry == nil); err != nil {
				return 0, err
			}
		}
		l.Used += delta
		charged := *r
		charged.Charged += delta
		b, err := charged.encode()
		if err != nil {
			return 0, fmt.Errorf("jobs: job %s: %w", id, err)
		}
		sum, err := json.Marshal(l)
		if err != nil {
			return 0, fmt.Errorf("jobs: %w", err)
		}
		last, err := q.records.WriteAll(ctx, []store.Write{{Key: r.Ledger, Value: sum, Revision: at}, {Key: keyOf(id), Value: b, Revision: rev}})
		if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("jobs: writing job %s: %w", id, err)
		}
		*r = charged
		failpoint.Hit(failpoint.RecordWritten)
		q.post(r.Ledger, sum, last-1)
		q.apply(id, r, last)
		return last, nil
	}
}

// afford returns what a tenant has used before a new job, or a *BudgetError. Where it has
// no ledger yet, that is what its jobs of the period take.
func (q *Queue) afford(id string, r *record, used int64, first bool) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.index.tenant(q.opts.TenantOf(id))
	p := q.opts.Policy(t.name).withDefaults()
	known, _, end := q.index.use(t, p, r.Created)
	if first {
		used = known
	}
	if p.Budget > 0 && used+r.Cost > p.Budget {
		return 0, &BudgetError{Tenant: t.name, Budget: p.Budget, Used: used, Cost: r.Cost, Refill: end}
	}
	return used, nil
}

// closeLedgers removes the ledgers of periods that are long over.
func (q *Queue) closeLedgers(ctx context.Context) error {
	keys, err := q.records.Keys(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if !strings.HasPrefix(key, ledgerPrefix) {
			continue
		}
		if end, ok := ledgerEnd(key); !ok || time.Since(end) < ledgerAge {
			continue
		}
		last, err := q.records.Last(ctx)
		if err != nil {
			return err
		}
		if _, err := q.records.Erase(ctx, last, key); err != nil {
			return err
		}
		q.mu.Lock()
		delete(q.index.accounts, key)
		q.mu.Unlock()
	}
	return nil
}
