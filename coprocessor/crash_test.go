package coprocessor

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/coprocessor/internal/failpoint"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

const (
	serverDirVariable = "TACIT_TEST_SERVER_DIR"
	// failpointVariable has the name of a failpoint and how often it is passed before
	// the process kills itself there, with an equals sign between.
	failpointVariable = "TACIT_TEST_FAILPOINT"
)

// killAtFailpoint has this process kill itself as the environment says.
func killAtFailpoint(t *testing.T) {
	where, count, ok := strings.Cut(os.Getenv(failpointVariable), "=")
	if !ok {
		return
	}
	n, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var passed atomic.Int32
	failpoint.Hook = func(name string) {
		if name == where && int(passed.Add(1)) == n {
			self.Kill()
			select {} // the signal takes a moment
		}
	}
}

// TestServerProcess is the server that TestKill kills. It prints its address
// once it serves, and stops when its input ends.
func TestServerProcess(t *testing.T) {
	dir := os.Getenv(serverDirVariable)
	if dir == "" {
		t.Skip("runs in a child process only")
	}
	killAtFailpoint(t)
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	server, err := Open(t.Context(), Options{
		Dir: dir, Params: testKeys().Secret.Parameters(), Backend: backend, Workers: 2,
		MaxAttempts: 1000, // on a slow machine a job may be begun under every kill
		Log:         slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatal(err)
	}
	if gone := server.node.Truncated(); len(gone) > 0 {
		t.Fatal(gone)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := server.GRPC()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { g.Serve(listener) })
	wg.Go(func() {
		if err := server.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	fmt.Println("listening", listener.Addr())
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); fmt.Println("jumped") {
		d, err := time.ParseDuration(orders.Text())
		if err != nil || jumpClock == nil {
			t.Fatalf("the clock cannot jump by %q", orders.Text())
		}
		jumpClock(d)
	}
	cancel()
	g.Stop()
	wg.Wait()
	if err := server.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// jumpClock moves the wall clock of this process away from that of the system, in
// programs that can do that.
var jumpClock func(time.Duration)

// process is a server in a process of its own, which may be killed and started
// again over its directory.
type process struct {
	t       testing.TB
	dir     string
	program string // a test program; this one if empty
	address atomic.Pointer[string]
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader

	failpoint string // where and when the next process kills itself; see failpointVariable
}

// start returns when the server serves.
func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.CommandContext(p.t.Context(), cmp.Or(p.program, os.Args[0]), "-test.run=^TestServerProcess$")
	p.cmd.Env = append(os.Environ(), serverDirVariable+"="+p.dir, failpointVariable+"="+p.failpoint)
	p.cmd.Stderr = p.t.Output()
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		p.t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.stdout = bufio.NewReader(stdout)
	line, err := p.stdout.ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if err != nil || !ok {
		p.t.Fatalf("the server says %q, %v", line, err)
	}
	p.address.Store(&address)
}

// kill ends the server as kill -9 does.
func (p *process) kill() {
	p.t.Helper()
	p.cmd.Process.Kill()
	p.killed()
}

// killed waits for the end of a server that is killed.
func (p *process) killed() {
	p.t.Helper()
	if err := p.cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		p.t.Fatalf("the server ended by itself: %v", err)
	}
}

// stop lets the server end.
func (p *process) stop() {
	p.t.Helper()
	p.stdin.Close()
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatal(err)
	}
}

// dial returns a client of whichever process serves.
func (p *process) dial() tacitv1.CoprocessorClient {
	p.t.Helper()
	conn, err := grpc.NewClient("passthrough:///server", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", *p.address.Load())
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.2, MaxDelay: 50 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	return tacitv1.NewCoprocessorClient(conn)
}

// again makes a call until the server is there to answer it.
func again[T any](call func() (T, error)) (T, error) {
	for {
		answer, err := call()
		if code(err) != codes.Unavailable {
			return answer, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// crashJob is a job of the stream: a transfer of two balances whose outcome is
// known.
type crashJob struct {
	id       string
	spec     *tacitv1.JobSpec
	operands [3]*integer.Value // from, to, amount
	tag      uint64            // makes the expression one of its own
	want     []string          // the plaintexts of the results
	seen     *tacitv1.Job      // as it was when its end was first seen
}

const taggedTransfer = `
ok = ge(from, amount)
sent = select(ok, amount, 0)
new_from = sub(from, sent)
new_to = add(to, sent)
tagged = xor(new_to, %d)
output ok, new_from%s, new_to%s, tagged
`

// compute evaluates the job without a server.
func (j *crashJob) compute(ctx context.Context, e *integer.Evaluator, packer integer.Packer) (results []*integer.List, err error) {
	from, to, amount := j.operands[0], j.operands[1], j.operands[2]
	ok, err := e.Apply(ctx, integer.OpGe, from, amount)
	if err != nil {
		return nil, err
	}
	sent, err := e.Apply(ctx, integer.OpSelect, ok, amount, integer.Plain(amount.Type, 0))
	if err != nil {
		return nil, err
	}
	newFrom, err := e.Apply(ctx, integer.OpSub, from, sent)
	if err != nil {
		return nil, err
	}
	newTo, err := e.Apply(ctx, integer.OpAdd, to, sent)
	if err != nil {
		return nil, err
	}
	tagged, err := e.Apply(ctx, integer.OpXor, newTo, integer.Plain(to.Type, j.tag))
	if err != nil {
		return nil, err
	}
	sk := testKeys().Secret
	for _, v := range []*integer.Value{ok, newFrom, newTo, tagged} {
		list, err := integer.Pack(sk.Parameters(), sk.ID(), packer, v)
		if err != nil {
			return nil, err
		}
		results = append(results, list)
	}
	return results, nil
}

// account is a ciphertext of the stream.
type account struct {
	handle  []byte
	value   *integer.Value
	balance uint8
}

// stream submits jobs until it is told to stop, and sees them end.
type stream struct {
	name   string
	client tacitv1.CoprocessorClient
	inputs []account
	engine *integer.Evaluator
	packer integer.Packer
	jobs   []*crashJob
}

// add prepares the next transfer, with names for the new balances if named is
// set, and returns them.
func (s *stream) add(t testing.TB, from, to, amount account, withNames bool) (newFrom, newTo account) {
	n := len(s.jobs)
	j := &crashJob{id: fmt.Sprintf("%s-%d", s.name, n), tag: uint64(n % 256), operands: [3]*integer.Value{from.value, to.value, amount.value}}
	newFrom.balance, newTo.balance = from.balance, to.balance
	ok := from.balance >= amount.balance
	if ok {
		newFrom.balance -= amount.balance
		newTo.balance += amount.balance
	}
	j.want = []string{fmt.Sprint("ebool:", ok), fmt.Sprint("euint8:", newFrom.balance), fmt.Sprint("euint8:", newTo.balance),
		fmt.Sprint("euint8:", newTo.balance^uint8(j.tag))}
	asFrom, asTo := "", ""
	if withNames {
		newFrom.handle, newTo.handle = named(j.id+" from"), named(j.id+" to")
		asFrom, asTo = fmt.Sprintf(" as 0x%x", newFrom.handle), fmt.Sprintf(" as 0x%x", newTo.handle)
	}
	j.spec = spec(t, fmt.Sprintf("input from = 0x%x\ninput to = 0x%x\ninput amount = 0x%x", from.handle, to.handle, amount.handle)+
		fmt.Sprintf(taggedTransfer, j.tag, asFrom, asTo))
	s.jobs = append(s.jobs, j)
	return newFrom, newTo
}

// submit returns when the job is acknowledged.
func (s *stream) submit(ctx context.Context, j *crashJob) error {
	_, err := again(func() (*tacitv1.Job, error) {
		return s.client.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: j.id, Spec: j.spec})
	})
	return err
}

// wait returns when the job has ended.
func (s *stream) wait(ctx context.Context, j *crashJob) (err error) {
	for err == nil && (j.seen == nil || j.seen.EndTime == nil) {
		j.seen, err = again(func() (*tacitv1.Job, error) {
			return s.client.WaitJob(ctx, &tacitv1.WaitJobRequest{Id: j.id, Timeout: durationpb.New(time.Second)})
		})
	}
	return err
}

// independent submits jobs on fresh inputs, and waits for all in the end.
func (s *stream) independent(ctx context.Context, t testing.TB, rng *rand.Rand, stop <-chan struct{}) error {
	for {
		pick := func() account { return s.inputs[rng.IntN(len(s.inputs))] }
		s.add(t, pick(), pick(), pick(), false)
		if err := s.submit(ctx, s.jobs[len(s.jobs)-1]); err != nil {
			return err
		}
		select {
		case <-stop:
			for _, j := range s.jobs {
				if err := s.wait(ctx, j); err != nil {
					return err
				}
			}
			return nil
		case <-time.After(time.Duration(rng.IntN(60)) * time.Millisecond):
		}
	}
}

// chained submits jobs each of which reads the results of the one before.
func (s *stream) chained(ctx context.Context, t testing.TB, rng *rand.Rand, stop <-chan struct{}) error {
	from, to := s.inputs[0], s.inputs[1]
	for {
		newFrom, newTo := s.add(t, from, to, s.inputs[rng.IntN(len(s.inputs))], true)
		j := s.jobs[len(s.jobs)-1]
		if err := s.submit(ctx, j); err != nil {
			return err
		}
		results, err := j.compute(ctx, s.engine, s.packer) // meanwhile
		if err != nil {
			return err
		}
		newFrom.value, newTo.value = results[1].Value(0), results[2].Value(0)
		if err := s.wait(ctx, j); err != nil {
			return err
		}
		from, to = newTo, newFrom // it goes back and forth
		select {
		case <-stop:
			return nil
		case <-time.After(time.Duration(rng.IntN(40)) * time.Millisecond):
		}
	}
}

// pipelined submits jobs that read the results of earlier ones without waiting for
// them, and waits for all in the end.
func (s *stream) pipelined(ctx context.Context, t testing.TB, rng *rand.Rand, stop <-chan struct{}) error {
	from, to := s.inputs[0], s.inputs[1]
	for {
		newFrom, newTo := s.add(t, from, to, s.inputs[rng.IntN(len(s.inputs))], true)
		j := s.jobs[len(s.jobs)-1]
		if err := s.submit(ctx, j); err != nil {
			return err
		}
		results, err := j.compute(ctx, s.engine, s.packer)
		if err != nil {
			return err
		}
		newFrom.value, newTo.value = results[1].Value(0), results[2].Value(0)
		from, to = newTo, newFrom
		select {
		case <-stop:
			for _, j := range s.jobs {
				if err := s.wait(ctx, j); err != nil {
					return err
				}
			}
			return nil
		case <-time.After(time.Duration(rng.IntN(100)) * time.Millisecond):
		}
	}
}

// A server that is killed at random moments of a stream of jobs finishes every
// job that it acknowledged, once, with the results of a server that was not.
func TestKill(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 5
	}
	storm(t, &process{t: t, dir: t.TempDir()}, kills, func(p *process, rng *rand.Rand, _ int) {
		time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
		p.kill()
		p.start()
	})
}

// So does one that is killed at each of the places where something is half done.
func TestKillAtFailpoints(t *testing.T) {
	storm(t, &process{t: t, dir: t.TempDir()}, len(failpoint.All), func(p *process, rng *rand.Rand, i int) {
		// A process that ends at the place takes over from one that ends at once.
		p.kill()
		p.failpoint = fmt.Sprintf("%s=%d", failpoint.All[i], 1+rng.IntN(6))
		p.start()
		p.killed()
		t.Log("killed at", p.failpoint)
		p.failpoint = ""
		p.start()
	})
}

// storm has a server killed, or harmed otherwise, so many times while four streams of
// jobs go on, and checks every job in the end. It returns how many jobs there were and
// how many were begun more than once.
func storm(t *testing.T, p *process, kills int, kill func(p *process, rng *rand.Rand, i int)) (total, repeated int) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute+time.Duration(kills)*3*time.Second)
	defer cancel()
	begin := time.Now()

	p.start()
	client := p.dial()
	up := &service{t: t, CoprocessorClient: client}
	if _, err := up.sendKey(ctx, upload{content: evaluationKey(t)}); err != nil {
		t.Fatal(err)
	}
	params := testKeys().Secret.Parameters()
	var plain []integer.Scalar
	for _, x := range []uint64{200, 50, 30, 255, 0, 7, 91, 128} {
		plain = append(plain, integer.Plain(integer.Uint8, x))
	}
	data := encrypted(t, "stream", plain...)
	uploaded, err := up.sendList(ctx, upload{content: data})
	if err != nil {
		t.Fatal(err)
	}
	list, err := integer.UnmarshalList(data, params)
	if err != nil {
		t.Fatal(err)
	}
	var inputs []account
	for i, c := range uploaded.Ciphertexts {
		inputs = append(inputs, account{c.Handle, list.Value(i), uint8(plain[i].Big().Uint64())})
	}

	evaluator := testEvaluator(t)
	engine, err := integer.New(params, evaluator)
	if err != nil {
		t.Fatal(err)
	}

	stop := make(chan struct{})
	var streams []*stream
	var wg sync.WaitGroup
	for i, run := range []func(*stream, context.Context, testing.TB, *rand.Rand, <-chan struct{}) error{
		(*stream).independent, (*stream).independent, (*stream).chained, (*stream).pipelined,
	} {
		s := &stream{name: fmt.Sprint("stream-", i), client: client, inputs: inputs, engine: engine, packer: evaluator}
		streams = append(streams, s)
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() {
			if err := run(s, ctx, t, rng, stop); err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
		})
	}
	rng := rand.New(rand.NewPCG(seed, 100))
	for i := range kills {
		kill(p, rng, i)
	}
	close(stop)
	wg.Wait()
	if t.Failed() {
		return 0, 0
	}
	stormed := time.Since(begin)

	// Whatever was seen to have ended is as it was seen, also in the next life.
	p.stop()
	p.start()
	attempts := uint32(0)
	ids := map[string]bool{}
	for _, s := range streams {
		for _, j := range s.jobs {
			job, err := again(func() (*tacitv1.Job, error) { return client.GetJob(ctx, &tacitv1.GetJobRequest{Id: j.id}) })
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(job, j.seen) {
				t.Errorf("%s ended more than once:\n%v\n%v", j.id, j.seen, job)
			}
			checkCrashJob(t, up, j, engine, evaluator)
			total++
			attempts += job.Attempts
			if job.Attempts > 1 {
				repeated++
			}
			ids[j.id] = true
		}
	}
	for token := ""; ; {
		page, err := client.ListJobs(ctx, &tacitv1.ListJobsRequest{PageSize: 100, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, job := range page.Jobs {
			if !ids[job.Id] {
				t.Errorf("%s is listed twice, or was never submitted", job.Id)
			}
			delete(ids, job.Id)
		}
		if token = page.NextPageToken; token == "" {
			break
		}
	}
	if len(ids) > 0 {
		t.Errorf("not listed: %v", ids)
	}
	p.stop()
	if total < kills {
		t.Errorf("%d jobs for %d kills show nothing", total, kills)
	}
	t.Logf("%d times in %.1f s: %d jobs acknowledged, all succeeded once; %d were begun again, %d attempts in all",
		kills, stormed.Seconds(), total, repeated, attempts)
	return total, repeated
}

// checkCrashJob compares the results of a job with those computed here.
func checkCrashJob(t *testing.T, s *service, j *crashJob, engine *integer.Evaluator, packer integer.Packer) {
	t.Helper()
	if j.seen.State != succeeded || len(j.seen.Results) != len(j.want) {
		t.Errorf("%s: %v", j.id, j.seen)
		return
	}
	results, err := j.compute(t.Context(), engine, packer)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range j.seen.Results {
		record, err := results[i].MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if want := sha256.Sum256(record); !bytes.Equal(r.Digest, want[:]) {
			t.Errorf("%s: result %d has the digest %x, want %x", j.id, i, r.Digest, want)
		}
		if got := s.decrypt(r.Handle); got != j.want[i] {
			t.Errorf("%s: result %d is %s, want %s", j.id, i, got, j.want[i])
		}
	}
}
