//go:build slow

package coprocessor

import (
	"bufio"
	"encoding/hex"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/fhe/leveled"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// TestBootstrapJob bootstraps 4096 values in a job: a service that takes keys of 2 GiB receives one of 1.8 GB
// in little memory, and gives back values with at least 20 bits and all levels. About ten minutes, and 12 GB of
// memory.
func TestBootstrapJob(t *testing.T) {
	p := must(leveled.ByName("ckks-16-boot"))
	keys := must(leveled.GenerateKeys(p, leveled.KeySpec{Rotations: []int{}, Bootstrapping: true}, nil))
	path := filepath.Join(t.TempDir(), "evaluation.key")
	f := must(os.Create(path))
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	size := must(keys.Evaluation.WriteTo(w))
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	secret := keys.Secret
	keys = nil // of 3.8 GB, of which the service makes its own
	runtime.GC()

	ordinary, stop := start(t)
	if _, err := ordinary.sendFile(f, secret.ID(), size); code(err) != codes.InvalidArgument {
		t.Fatalf("a key of %d bytes by default: %v", size, err)
	}
	stop()

	s, _ := start(t, func(o *Options) { o.MaxKey, o.KeyMemory = 2<<30, 4<<30 })
	before, most := heapNow(), new(atomic.Uint64)
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for tick := time.Tick(50 * time.Millisecond); ; {
			select {
			case <-done:
				return
			case <-tick:
				most.Store(max(most.Load(), heapNow()))
			}
		}
	}()
	began := time.Now()
	if _, err := s.sendFile(f, secret.ID(), size); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	close(done)
	<-watched
	grown := int64(most.Load()) - int64(before)
	t.Logf("%d bytes in %v; the heap grew by %d bytes at most", size, took, grown)
	if grown > 512<<20 {
		t.Errorf("receiving a key took %d bytes", grown)
	}

	x := make([]float64, p.Slots())
	for i := range x {
		x[i] = 2*rand.Float64() - 1
	}
	data := must(leveled.MarshalCiphertexts(must(leveled.NewEncryptor(secret).Reals(x))))
	resp, err := s.sendList(t.Context(), upload{content: data})
	if err != nil {
		t.Fatal(err)
	}
	// Squares as often as there are levels would leave nothing; one bootstrap in between gives them back.
	job := s.run("bootstrap", specUnder(t, secret.ID(), "input a = 0x"+hex.EncodeToString(resp.Ciphertexts[0].Handle)+`
square = mul(a, a)
small = rescale(square)
fresh = bootstrap(small)
again = mul(fresh, fresh)
result = rescale(again)
output fresh, result
`))
	for job.State != succeeded && job.State != failed { // a wait ends after a minute
		if job, err = s.CoprocessorClient.WaitJob(t.Context(), &tacitv1.WaitJobRequest{Id: "bootstrap", Timeout: durationpb.New(time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	if job.State != succeeded {
		t.Fatalf("%v: %v", job.State, job.Error)
	}
	fresh := s.vector(job.Results[0].Handle)
	if fresh.Level() != p.Levels() {
		t.Errorf("%d levels after a bootstrap, want %d", fresh.Level(), p.Levels())
	}
	for i, power := range []float64{2, 4} {
		got := must(leveled.NewDecryptor(secret).Reals(s.vector(job.Results[i].Handle)))
		worst, squares := 0.0, 0.0
		for k := range got {
			miss := math.Abs(got[k] - math.Pow(x[k], power))
			worst, squares = max(worst, miss), squares+miss*miss
		}
		bits := -math.Log2(math.Sqrt(squares / float64(len(got))))
		t.Logf("x^%v: %.1f bits, the worst value %.1f", power, bits, -math.Log2(worst))
		if bits < 20 {
			t.Errorf("x^%v has %.1f bits", power, bits)
		}
	}
}

// heapNow is how many bytes are in use, those that are garbage included.
func heapNow() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// sendFile uploads an evaluation key from a file, from its beginning.
func (s *service) sendFile(f *os.File, id leveled.KeyID, size int64) (*tacitv1.EvaluationKeyInfo, error) {
	s.t.Helper()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		s.t.Fatal(err)
	}
	stream, err := s.CoprocessorClient.UploadEvaluationKey(s.t.Context())
	if err != nil {
		return nil, err
	}
	send := func(m *tacitv1.UploadEvaluationKeyRequest) bool { return stream.Send(m) == nil } // CloseAndRecv has the reason
	header := &tacitv1.EvaluationKeyHeader{KeyId: id[:], Size: uint64(size)}
	if !send(&tacitv1.UploadEvaluationKeyRequest{Content: &tacitv1.UploadEvaluationKeyRequest_Header{Header: header}}) {
		return stream.CloseAndRecv()
	}
	for buf := make([]byte, MaxChunk); ; {
		n, err := f.Read(buf)
		if err == io.EOF || !send(&tacitv1.UploadEvaluationKeyRequest{Content: &tacitv1.UploadEvaluationKeyRequest_Chunk{Chunk: buf[:n]}}) {
			return stream.CloseAndRecv()
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}
