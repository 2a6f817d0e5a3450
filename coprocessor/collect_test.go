package coprocessor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
	"github.com/tacit-fhe/tacit/coprocessor/upkeep"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// TestBuckets compares the buckets that a server makes with those that are copied,
// verified and backed up.
func TestBuckets(t *testing.T) {
	s, _ := start(t)
	known := upkeep.Buckets()
	for name := range s.node.JetStream().KeyValueStoreNames(t.Context()).Name() {
		if name = strings.TrimPrefix(name, "KV_"); !slices.Contains(known, name) {
			t.Errorf("bucket %s is in no backup", name)
		}
	}
}

// A job that has ended is removed when its time is over, and was never submitted.
func TestCollectJobs(t *testing.T) {
	s, _ := start(t, func(o *Options) {
		o.Keep, o.CollectInterval = upkeep.Policy{Jobs: jobs.Retention{Age: time.Millisecond}}, 20*time.Millisecond
	})
	h := s.prepare(integer.Plain(integer.Uint8, 1))
	job := s.submit("short", spec(t, "input a = 0x"+h[0]+"\nb = add(a, 1)\noutput b"))
	for {
		_, err := s.CoprocessorClient.GetJob(t.Context(), &tacitv1.GetJobRequest{Id: job.Id})
		if code(err) == codes.NotFound {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if list, err := s.CoprocessorClient.ListJobs(t.Context(), &tacitv1.ListJobsRequest{}); err != nil || len(list.Jobs) > 0 {
		t.Errorf("%v, %v", list, err)
	}
	s.run("short", spec(t, "input a = 0x"+h[0]+"\nb = add(a, 2)\noutput b"))
}

// Jobs beyond the number that is kept are removed soon, without a collection.
func TestTrimJobs(t *testing.T) {
	s, _ := start(t, func(o *Options) { o.Keep.Jobs.Count = 2 })
	h := s.prepare(integer.Plain(integer.Uint8, 1))
	for i := range 4 {
		s.run(fmt.Sprint("job", i), spec(t, fmt.Sprintf("input a = 0x%s\nb = add(a, %d)\noutput b", h[0], i)))
	}
	for {
		list, err := s.CoprocessorClient.ListJobs(t.Context(), &tacitv1.ListJobsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Jobs) == 2 {
			if list.Jobs[0].Id != "job2" || list.Jobs[1].Id != "job3" {
				t.Errorf("left: %v", list.Jobs)
			}
			break
		}
	}
}

// An evaluation key that is damaged in the store is refused as lost, and repaired by
// its upload.
func TestDamagedKeyUploadedAgain(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, func(o *Options) { o.Dir = dir })
	h := s.prepare(integer.Plain(integer.Uint8, 1))
	text := "input a = 0x" + h[0] + "\nb = add(a, 1)\noutput b"
	stop()
	key := evaluationKey(t)
	storetest.Flip(t, dir, key[len(key)/2:len(key)/2+200])
	s, _ = start(t, func(o *Options) { o.Dir = dir })
	if job := s.run("lost", spec(t, text)); job.Error.GetReason() != "DATA_LOSS" {
		t.Fatalf("with a damaged key: %v", job)
	}
	if _, err := s.sendKey(t.Context(), upload{content: key}); err != nil {
		t.Fatal(err)
	}
	if job := s.run("again", spec(t, text)); job.State != succeeded {
		t.Errorf("after the repair: %v", job)
	}
}

// What is stored of an upload is bounded, however little arrives.
func TestUploadOfManyPublicValues(t *testing.T) {
	s, _ := start(t)
	s.prepare()
	enc, err := testKeys().Public.Encrypter(s.opts.Backend)
	if err != nil {
		t.Fatal(err)
	}
	list, err := integer.Encrypt(testKeys().Secret.Parameters(), testKeys().Secret.ID(), enc, fhe.NewSeed(), slices.Repeat([]integer.Scalar{integer.Plain(integer.Bool, 1)}, integer.MaxListValues)...)
	if err != nil {
		t.Fatal(err)
	}
	data, err := list.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	record, err := list.Only(0).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.sendList(t.Context(), upload{content: data})
	if large := len(record)*list.Len() > MaxStored; large != (code(err) == codes.InvalidArgument) {
		t.Errorf("%d values of %d bytes: %v", list.Len(), len(record), err)
	}
}

// Workers compute the jobs of their keys, and leave those of others.
func TestServeKeys(t *testing.T) {
	other := otherKeys().Secret.ID()
	s, _ := start(t, func(o *Options) { o.ServeKeys = [][32]byte{other} })
	h := s.prepare(integer.Plain(integer.Uint8, 1))
	mine := s.underOther(3)
	s.submit("not-mine", spec(t, "input a = 0x"+h[0]+"\nb = add(a, 1)\noutput b"))
	if job := s.run("mine", mine); job.State != succeeded {
		t.Fatalf("%v", job)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if job, err := s.queue.Stat(ctx, "not-mine"); err != nil || job.State != jobs.Queued {
		t.Error(fmt.Sprint(job.State), err)
	}
}
