package jobs

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// FuzzDecodeRecord feeds the decoder of stored jobs: what it accepts can be read again
// and shown.
func FuzzDecodeRecord(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	f.Add([]byte(`{"version":1,"state":"queued","spec":"0000000000000000000000000000000000000000000000000000000000000000","created":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"version":1,"state":"running","lease":"x","lease_for":30000000000,"attempts":1,"progress":"AAAA"}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"state":"done","result":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb","inline":"YQ=="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRecord(data)
		if err != nil {
			return
		}
		r.job("id", 1)
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeRecord(again); err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}

// A result that lies in the record must have the digest that the record says.
func TestDecodeInline(t *testing.T) {
	const head, digest = `{"version":1,"state":"done"`, `,"result":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"`
	for text, ok := range map[string]bool{
		digest: true, digest + `,"inline":"YQ=="`: true, digest + `,"inline":"Yg=="`: false, `,"inline":"YQ=="`: false,
	} {
		if _, err := decodeRecord([]byte(head + text + "}")); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// FuzzDecodeControl feeds the decoder of what is held back.
func FuzzDecodeControl(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 128})
	full, err := json.Marshal(controlRecord{Version: recordVersion, Control: Control{Paused: true, Tenants: []string{"a"}, Pools: []string{"b"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeControl(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(controlRecord{Version: recordVersion, Control: c})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeControl(again); err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}

// FuzzDecodeLedger feeds the decoder of what is used of a budget, and its key.
func FuzzDecodeLedger(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	f.Add(ledgerKey("a.b", time.Unix(1e9, 0), time.Hour), []byte(`{"version":1,"used":5}`))
	f.Add("ledger/a/b/c", []byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		ledgerEnd(key)
		l, err := decodeLedger(key, value)
		if err != nil {
			if !errors.As(err, new(*store.DataLossError)) {
				t.Errorf("untyped: %v", err)
			}
			return
		}
		again, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := decodeLedger(key, again); err != nil || same != l {
			t.Errorf("%s is read as %+v: %v", again, same, err)
		}
	})
}
