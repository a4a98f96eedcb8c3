package linear

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

// keepDir is the environment variable that makes the test program the keeper of a DB. Its value is
// the directory of the store.
const keepDir = "KIVALOO_LINEAR_KEEP_DIR"

// request is what a keeper is asked to do.
type request struct {
	ID              uint64
	Op              opcode
	Key, Old, Value []byte            // opRange: Key is the start, and Value the end
	Keys            [groupKeys][]byte // opApply, opView
	Olds, Values    contents          // opApply
	Wait            time.Duration
}

// reply is the keeper's answer.
type reply struct {
	ID    uint64 // 0: the DB is open
	Made  bool
	Value []byte   // empty if the key is absent
	Found contents // opView
	Pairs []kivaloo.Pair

	Failed bool
	Sent   bool // as in an OpError
	Late   bool // the context has ended
	Why    string
}

// keep opens the store in dir and serves requests from in until it ends. It runs in the child
// process.
func keep(dir string, in io.Reader, out io.Writer) error {
	db, err := kivaloo.Open(dir, kivaloo.Options{BlockSize: 512, CacheBytes: 1 << 20})
	if err != nil {
		return err
	}
	var (
		requests = gob.NewDecoder(in)
		replies  = gob.NewEncoder(out)
		one      sync.Mutex // one reply at a time
		asking   sync.WaitGroup
	)
	if err := replies.Encode(reply{}); err != nil {
		return err
	}
	for {
		var r request
		if err := requests.Decode(&r); err != nil {
			asking.Wait()
			return db.Close()
		}
		asking.Go(func() {
			answer := serveOne(db, &r)
			one.Lock()
			defer one.Unlock()
			_ = replies.Encode(answer) // if nobody reads any more, the requests end too
		})
	}
}

// serveOne carries out a request on s.
func serveOne(s store, r *request) reply {
	ctx, cancel := context.WithTimeout(context.Background(), r.Wait)
	defer cancel()
	answer, err := reply{ID: r.ID, Made: true}, error(nil)
	switch r.Op {
	case opGet:
		if answer.Value, err = s.Get(ctx, r.Key); errors.Is(err, kivaloo.ErrNotFound) {
			answer.Value, err = nil, nil
		}
	case opRange:
		for pair, failed := range s.Range(ctx, r.Key, r.Value) {
			answer.Pairs, err = append(answer.Pairs, pair.Clone()), failed
		}
	case opSet:
		err = s.Set(ctx, r.Key, r.Value)
	case opAdd:
		answer.Made, err = s.Add(ctx, r.Key, r.Value)
	case opModify:
		answer.Made, err = s.Modify(ctx, r.Key, r.Value)
	case opSwap:
		answer.Made, err = s.CompareAndSwap(ctx, r.Key, r.Old, r.Value)
	case opDelete:
		err = s.Delete(ctx, r.Key)
	case opCompareDelete:
		answer.Made, err = s.CompareAndDelete(ctx, r.Key, r.Old)
	case opView:
		answer.Found, err = view(ctx, s, r.Keys)
	case opApply:
		answer.Made, err = swapGroup(ctx, s, r.Keys, r.Olds, r.Values)
	}
	if err != nil {
		var op *kivaloo.OpError
		sent := !errors.As(err, &op) || op.Sent
		return reply{ID: r.ID, Failed: true, Sent: sent, Late: errors.Is(err, context.DeadlineExceeded), Why: err.Error()}
	}
	return answer
}

// embedded is a DB in its own process. Like a DB, it is a store that all clients share.
type embedded struct {
	dir    string
	keeper atomic.Pointer[keeper] // the last one started
}

func newEmbedded(t *testing.T) system { return &embedded{dir: filepath.Join(daemontest.Place(t), "d")} }

func (e *embedded) start(t *testing.T) {
	t.Helper()
	e.keeper.Store(startKeeper(t, e.dir))
}

func (e *embedded) crash(t *testing.T, _ *rand.Rand) {
	t.Helper()
	process := e.keeper.Load().process
	process.Kill()
	process.Wait(t)
}

func (e *embedded) processes() []*daemontest.Daemon {
	return []*daemontest.Daemon{e.keeper.Load().process}
}

func (e *embedded) client(*testing.T, int) store { return e }

func (e *embedded) Get(ctx context.Context, key []byte) ([]byte, error) {
	a, err := e.ask(ctx, request{Op: opGet, Key: key})
	if err == nil && len(a.Value) == 0 {
		err = kivaloo.ErrNotFound
	}
	return a.Value, err
}

func (e *embedded) Range(ctx context.Context, start, end []byte) iter.Seq2[kivaloo.Pair, error] {
	return func(yield func(kivaloo.Pair, error) bool) {
		a, err := e.ask(ctx, request{Op: opRange, Key: start, Value: end})
		if err != nil {
			yield(kivaloo.Pair{}, err)
			return
		}
		for _, pair := range a.Pairs {
			if !yield(pair, nil) {
				return
			}
		}
	}
}

func (e *embedded) Set(ctx context.Context, key, value []byte) error {
	_, err := e.ask(ctx, request{Op: opSet, Key: key, Value: value})
	return err
}

func (e *embedded) Add(ctx context.Context, key, value []byte) (bool, error) {
	a, err := e.ask(ctx, request{Op: opAdd, Key: key, Value: value})
	return a.Made, err
}

func (e *embedded) Modify(ctx context.Context, key, value []byte) (bool, error) {
	a, err := e.ask(ctx, request{Op: opModify, Key: key, Value: value})
	return a.Made, err
}

func (e *embedded) CompareAndSwap(ctx context.Context, key, old, value []byte) (bool, error) {
	a, err := e.ask(ctx, request{Op: opSwap, Key: key, Old: old, Value: value})
	return a.Made, err
}

func (e *embedded) Delete(ctx context.Context, key []byte) error {
	_, err := e.ask(ctx, request{Op: opDelete, Key: key})
	return err
}

func (e *embedded) CompareAndDelete(ctx context.Context, key, old []byte) (bool, error) {
	a, err := e.ask(ctx, request{Op: opCompareDelete, Key: key, Old: old})
	return a.Made, err
}

func (e *embedded) view(ctx context.Context, keys [groupKeys][]byte) (contents, error) {
	a, err := e.ask(ctx, request{Op: opView, Keys: keys})
	return a.Found, err
}

func (e *embedded) swapGroup(ctx context.Context, keys [groupKeys][]byte, olds, values contents) (bool, error) {
	a, err := e.ask(ctx, request{Op: opApply, Keys: keys, Olds: olds, Values: values})
	return a.Made, err
}

// Close does nothing, because others still use the process.
func (e *embedded) Close() error { return nil }

// ask makes the process carry out a request.
func (e *embedded) ask(ctx context.Context, r request) (reply, error) {
	deadline, _ := ctx.Deadline()
	r.Wait = time.Until(deadline)
	a := e.keeper.Load().ask(&r)
	if !a.Failed {
		return a, nil
	}
	why := errors.New(a.Why)
	if a.Late {
		why = fmt.Errorf("%w: %s", context.DeadlineExceeded, a.Why)
	}
	return reply{}, &kivaloo.OpError{Op: r.Op.String(), Addr: e.dir, Sent: a.Sent, Err: why}
}

// keeper is the parent's end of a process that has a DB. It is safe for concurrent use.
type keeper struct {
	process *daemontest.Daemon

	mu       sync.Mutex
	requests *gob.Encoder
	lastID   uint64
	waiting  map[uint64]chan reply // buffered, for one reply
	lost     bool                  // the process has ended
}

// startKeeper starts a process and waits until its DB is open.
func startKeeper(t *testing.T, dir string) *keeper {
	t.Helper()
	self, err := os.Executable()
	must.Do(t, err)
	in, requests, err := os.Pipe()
	must.Do(t, err)
	replies, out, err := os.Pipe()
	must.Do(t, err)
	k := &keeper{requests: gob.NewEncoder(requests), waiting: make(map[uint64]chan reply)}
	opened := k.wait(0)
	ended := make(chan struct{})
	t.Cleanup(func() { // after the process has been killed
		<-ended
		requests.Close()
		replies.Close()
	})
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), keepDir+"="+dir)
	cmd.Stdin, cmd.Stdout = in, out
	var said string
	k.process, said = daemontest.Foreground(t, cmd)
	in.Close()
	out.Close()
	go func() {
		defer close(ended)
		k.receive(gob.NewDecoder(replies))
	}()
	if r := <-opened; r.Failed {
		text, err := os.ReadFile(said)
		t.Fatalf("the keeper of %s has ended: %s, %v", dir, text, err)
	}
	return k
}

// receive passes on replies until there are no more.
func (k *keeper) receive(replies *gob.Decoder) {
	for {
		var r reply
		err := replies.Decode(&r)
		k.mu.Lock()
		if err != nil {
			break
		}
		k.waiting[r.ID] <- r
		delete(k.waiting, r.ID)
		k.mu.Unlock()
	}
	defer k.mu.Unlock()
	k.lost = true
	for _, reply := range k.waiting {
		reply <- lostReply
	}
}

// lostReply stands for a reply that will not come.
var lostReply = reply{Failed: true, Sent: true, Why: "the process has ended"}

// wait returns the channel for the reply with this ID. mu must be held, except for the first.
func (k *keeper) wait(id uint64) <-chan reply {
	arrives := make(chan reply, 1)
	k.waiting[id] = arrives
	return arrives
}

// ask sends r, with a new ID, and waits for the reply.
func (k *keeper) ask(r *request) reply {
	k.mu.Lock()
	k.lastID++
	r.ID = k.lastID
	arrives := k.wait(r.ID)
	if k.lost || k.requests.Encode(r) != nil { // the process does not act on half a request
		delete(k.waiting, r.ID)
		k.mu.Unlock()
		return reply{Failed: true, Why: "there is no process"}
	}
	k.mu.Unlock()
	return <-arrives
}
