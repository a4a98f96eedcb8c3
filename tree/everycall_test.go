package tree

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/tree/offheap"
)

// faultKind is one way in which calls on a file system fail.
type faultKind struct {
	name   string
	err    error
	ops    []simfs.Op // calls that can fail like this; nil: all
	reads  bool       // reads can fail like this
	unopen bool       // during the fault the store may refuse to open
	passes bool       // after the fault changes succeed again without a restart
}

// growing lists the calls that need space on every file system. On some, the other calls of
// changing need space too.
var growing = []simfs.Op{simfs.Write, simfs.Create, simfs.Rename}

var faultKinds = []faultKind{
	{name: "EIO", err: syscall.EIO, reads: true, unopen: true},
	{name: "EIO of changes", err: syscall.EIO, ops: changing, unopen: true},
	{name: "ENOSPC", err: syscall.ENOSPC, ops: growing, passes: true},
	{name: "ENOSPC of all changes", err: syscall.ENOSPC, ops: changing, unopen: true, passes: true},
	{name: "EDQUOT", err: syscall.EDQUOT, ops: growing, passes: true},
	{name: "EROFS", err: syscall.EROFS, ops: changing, unopen: true},
	{name: "EMFILE", err: syscall.EMFILE, ops: []simfs.Op{simfs.ReadDir, simfs.Open, simfs.Create}, reads: true, unopen: true, passes: true},
	{name: "EFBIG", err: syscall.EFBIG, ops: []simfs.Op{simfs.Write}, unopen: true},
	{name: "short write", err: io.ErrShortWrite, ops: []simfs.Op{simfs.Write}, unopen: true},
	{name: "short read", err: io.EOF, ops: []simfs.Op{simfs.Read}, reads: true, unopen: true, passes: true},
}

// everyCallStride is how many calls apart the failing calls are in an ordinary run.
const everyCallStride = 29

// TestEveryCall runs a whole store from its opening to its second stop. It fails the nth call on
// the file system, or all calls from the nth on, for every n up to the length of a run.
// KIVALOO_CALL runs one n only.
func TestEveryCall(t *testing.T) {
	before := offheap.InUse()
	runs, first := 0, 0
	for _, kind := range faultKinds {
		for _, ever := range []bool{false, true} {
			for _, size := range []int{512, 600} { // without seals, and with seals
				for _, journal := range []int64{4 << 10, 0} {
					t.Run(fmt.Sprintf("%s/ever %t/block %d/journal %d", kind.name, ever, size, journal), func(t *testing.T) {
						first += 5 // different calls for each
						runs += everyCall(t, kind, ever, size, journal, first)
					})
				}
			}
		}
	}
	if now := offheap.InUse(); now != before {
		t.Errorf("%d bytes of memory were in use, and %d after it", before, now)
	}
	t.Logf("%d runs", runs)
}

// everyCall runs stores, failing one call after the other. It returns how many runs it took.
func everyCall(t *testing.T, kind faultKind, ever bool, size int, journal int64, first int) (runs int) {
	stride := int(torture(everyCallStride, 1))
	if n, err := strconv.Atoi(os.Getenv("KIVALOO_CALL")); err == nil {
		newFaultRun(t, kind, n, ever, size, journal).run()
		return 1
	}
	for n := 1 + first%stride; ; n += stride {
		runs++
		if !newFaultRun(t, kind, n, ever, size, journal).run() || t.Failed() {
			return runs
		}
	}
}

// faultRun is a store in use while calls on the file system fail.
type faultRun struct {
	*life
	kind   faultKind
	nth    int  // the call that fails, counting those that can
	ever   bool // the calls after it fail too
	calls  int  // calls so far that can fail
	hits   []simfs.Call
	over   bool // nothing fails any more
	looked bool // the effects of a fault were checked
	said   bytes.Buffer
}

func newFaultRun(t *testing.T, kind faultKind, nth int, ever bool, size int, journal int64) *faultRun {
	s := &simulation{
		t: t, rng: rand.New(rand.NewPCG(uint64(nth), 4)), count: &counts{},
		blockSize: size, keys: 80, seen: map[[2]uint64]bool{},
	}
	s.cfg = testConfig()
	s.cfg.AdoptBlank = true
	s.cfg.StorageCost, s.cfg.MaxSpread = 1e9, 1.5
	s.cfg.JournalBytes, s.cfg.memtableBytes = journal, 2<<10
	r := &faultRun{kind: kind, nth: nth, ever: ever}
	r.life = &life{simulation: s, fsys: simfs.New(storeDir), past: newHistory(model{}), cuts: maxCuts, broken: true, damaged: kind.err == io.EOF}
	s.cfg.Log = slog.New(slog.NewTextHandler(&r.said, nil))
	return r
}

// run reports whether anything failed.
func (r *faultRun) run() bool {
	r.t.Helper()
	defer func() {
		if r.t.Failed() {
			said := r.said.String()
			r.t.Logf("call %d: %+v; the end of the log:\n%s", r.nth, r.hits[:min(4, len(r.hits))], said[max(0, len(said)-2000):])
			r.t.Logf("to replay: KIVALOO_CALL=%d go test ./tree -count=1 -run '^%s$'", r.nth, strings.ReplaceAll(r.t.Name(), "/", "$/^"))
		}
	}()
	for range 2 {
		if r.use(); len(r.hits) > 0 && r.ever {
			break
		}
	}
	r.over = true
	if !r.open() {
		r.fatalf("cannot be opened when the fault is over")
	}
	r.mustChange(true)
	r.stop()
	r.end()
	return len(r.hits) > 0
}

// hook makes the chosen calls fail.
func (r *faultRun) hook(call simfs.Call) error {
	if r.over || r.kind.ops != nil && !slices.Contains(r.kind.ops, call.Op) {
		return nil
	}
	if r.calls++; r.calls == r.nth || r.ever && r.calls > r.nth {
		r.hits = append(r.hits, call)
		return r.kind.err
	}
	return nil
}

// open reports whether the store can be opened.
func (r *faultRun) open() bool {
	if r.lostNames() {
		r.fsys = r.fsys.Left(simfs.Mood(r.rng))
	}
	r.fsys.SetHook(r.hook)
	hits := len(r.hits)
	var err error
	o := disk.Options{FS: r.fsys, Log: r.cfg.Log}
	r.store, r.tree, err = openWith(disk.OpenInline, storeDir, o, r.blockSize, func(int) (Config, error) { return r.cfg, nil })
	if err != nil {
		r.store, r.tree = nil, nil
		if r.past.blockSize == 0 && errors.Is(err, ErrUnknownBlockSize) { // the first append was cut short: there is no store yet
			r.fsys = simfs.New(storeDir)
			return r.open()
		}
		if hits == len(r.hits) {
			r.fatalf("cannot be opened, although nothing fails: %v", err)
		}
		r.mustBeClosed()
		r.mustName(err)
		return false
	}
	r.done = disk.NewCompletions(actors.NewDoorbell(func() {}))
	r.clients = []*connection{{l: r.life}, {l: r.life}}
	held, err := r.readAll()
	if err != nil && !r.ever {
		held, err = r.readAll()
	}
	if err != nil {
		r.mustName(err)
		r.end()
		return false
	}
	if !r.past.mayHold(held) {
		r.fatalf("it holds %d pairs that are none of the states that it may have: %s", len(held), r.past.differences(held))
	}
	r.past = newHistory(held)
	r.past.blockSize = r.blockSize
	return true
}

// use opens the store, uses every feature, and stops it.
func (r *faultRun) use() {
	if !r.open() {
		return
	}
	for range 5 {
		r.change(2, 12)
	}
	r.tree.TakeSnapshot("test", func(s *Snapshot, err error) {
		if err != nil {
			r.failed(err)
			return
		}
		r.taken = append(r.taken, takenView{s, &connection{l: r.life, at: maps.Clone(r.past.pairs)}})
	})
	r.change(2, 12)
	for _, s := range r.taken {
		r.step(nil, &Batch{Client: s.connection, Requests: []Request{{Op: Range, Max: MaxRangePairBytes, At: s.Snapshot}}})
	}
	r.settle()
	lease := &Batch{Client: r.client(), Requests: []Request{{Op: TakeLease}}}
	r.step(nil, lease)
	r.settle()
	id := lease.Requests[0].Snapshot // 0 if it has failed
	for _, q := range []Request{{Op: Scan, Snapshot: id, Max: MaxRangePairBytes}, {Op: ReleaseLease, Snapshot: id}} {
		r.step(nil, &Batch{Client: r.client(), Requests: []Request{q}})
		r.settle()
	}
	for _, s := range r.taken {
		r.tree.Release(s.Snapshot)
	}
	r.taken = nil
	r.passOn(2 * flushIdleAfter)
	for range 4 {
		r.change(1, 20)
		r.passOn(tickEvery)
	}
	r.passOn(cleanAfter + 2*tickEvery)
	if r.ever {
		r.look()
	}
	if r.tree != nil {
		r.end()
	}
}

// change makes some changes, with reads among them.
func (r *faultRun) change(batches, n int) {
	r.now += 20 * time.Millisecond
	var all []*Batch
	for range batches {
		all = append(all, r.batch(r.client(), n))
	}
	r.step(nil, all...)
	r.settle()
	if !r.ever {
		r.look()
	}
}

// passOn lets time pass in ticks.
func (r *faultRun) passOn(d time.Duration) {
	for end := r.now + d; r.now < end; {
		r.now += tickEvery / 2
		r.step(nil)
		r.settle()
	}
}

// look checks, once, what the faults so far have left, and that no harm remains after them.
func (r *faultRun) look() {
	if r.looked || len(r.hits) == 0 {
		return
	}
	r.mustRead()
	if r.ever && !r.kind.unopen {
		r.mustBeRefused()
	}
	r.states()
	if r.ever && r.nth%2 == 0 { // a start that also meets the fault
		r.end()
		if !r.open() {
			if !r.kind.unopen {
				r.fatalf("it cannot be opened while the disk is full")
			}
			return
		}
		r.mustRead()
	}
	r.over = true
	r.mustRead()
	r.mustChange(r.kind.passes)
}

// states checks what a kill or a power cut would leave now.
func (r *faultRun) states() {
	if r.looked = true; !r.lostNames() {
		r.tryState(r.fsys.Kill())
	}
	for range 2 {
		r.tryState(r.fsys.Left(simfs.Mood(r.rng)))
	}
}

// end stops the tree and closes the store.
func (r *faultRun) end() {
	err := r.rest()
	if err != nil && len(r.hits) == 0 {
		r.fatalf("a stop fails: %v", err)
	}
	r.mustBeIdle()
	r.tree.Close()
	closed := r.store.Close()
	if closed != nil && len(r.hits) == 0 {
		r.fatalf("closing fails: %v", closed)
	}
	r.tree, r.store = nil, nil
	r.mustBeClosed()
	if len(r.hits) > 0 && !r.looked {
		r.states()
	}
}

// lostNames reports whether file names that are visible may be lost, because a sync of the
// directory failed. A file system then takes no more changes until it is mounted again, so the next
// start sees the names on disk.
func (r *faultRun) lostNames() bool {
	return !r.kind.passes && slices.ContainsFunc(r.hits, func(c simfs.Call) bool { return c.Op == simfs.SyncDir })
}

// readAll returns all pairs, unless a read fails.
func (r *faultRun) readAll() (model, error) {
	c := &connection{l: r.life, read: model{}}
	for {
		r.step(nil, &Batch{Client: c, Requests: []Request{{Op: Range, Key: []byte(c.next), Max: MaxRangePairBytes}}})
		if r.settle(); c.failed != nil || c.next == "" {
			return c.read, c.failed
		}
	}
}

// mustRead reads all pairs and looks up a key. Reads may fail only while reads of the disk do.
func (r *faultRun) mustRead() {
	held, err := r.readAll()
	switch {
	case err != nil && r.kind.reads && !r.over:
		r.mustName(err)
	case err != nil:
		r.fatalf("reads do not go on: %v", err)
	case !maps.Equal(held, r.past.pairs):
		r.fatalf("it does not hold what was acknowledged: %s", r.past.differences(held))
	}
}

// mustChange makes a change after the fault. If it is refused, that is permanent, and the error
// says so.
func (r *faultRun) mustChange(must bool) {
	r.passOn(2 * noSpaceRetry)
	err := r.changeOne()
	switch {
	case err == nil:
		r.mustRead()
	case must:
		r.fatalf("the fault is over, and no change is made: %v", err)
	default:
		if !errors.Is(err, disk.ErrFailed) || !strings.Contains(r.said.String(), "remove the cause and restart") {
			r.fatalf("a change is refused with %v; the log does not say what to do", err)
		}
		r.mustName(err)
	}
}

// changeOne makes a change and returns its error.
func (r *faultRun) changeOne() error {
	c := &connection{l: r.life}
	answers := r.answers
	b := &Batch{Client: c, Requests: []Request{set("0001", "one more change")}}
	r.sent++
	b.Requests[0].ID = r.sent
	r.past.pending = append(r.past.pending, sentChange{q: &b.Requests[0]})
	r.step(nil, b)
	if r.settle(); r.answers == answers {
		r.fatalf("a change has no answer")
	}
	return c.failed
}

// mustBeRefused expects a full disk to refuse changes, and one log line about it.
func (r *faultRun) mustBeRefused() {
	for range 3 {
		r.passOn(2 * noSpaceRetry)
		if err := r.changeOne(); !errors.Is(err, disk.ErrNoSpace) {
			r.fatalf("a change on a full disk: %v", err)
		}
	}
	if said := r.said.String(); strings.Count(said, "refused until there is room") != 1 || strings.Contains(said, "has room again") {
		r.fatalf("the log does not say once that changes are refused")
	}
}

// mustName fails the test unless an error names a file whose calls failed, the directory, or a
// block.
func (r *faultRun) mustName(err error) {
	for _, call := range r.hits {
		if strings.Contains(err.Error(), cmp.Or(call.Name, storeDir)) {
			return
		}
	}
	if !strings.Contains(err.Error(), "block") {
		r.fatalf("an error that does not say where: %v", err)
	}
}

// mustBeIdle fails the test if a tree at rest still holds resources of requests.
func (r *faultRun) mustBeIdle() {
	t := r.tree
	if t.flush.step == nil { // otherwise its pages wait for room
		checkFrames(r.t, t)
	}
	if free, all := len(t.pager.spare), len(t.pager.inFlight); free != all {
		r.fatalf("%d of %d reads are not under way and not free", all-free, all)
	}
	if n := len(t.limbo); n > 0 {
		r.fatalf("%d dropped memtables are kept", n)
	}
}

// mustBeClosed fails the test if a file is open.
func (r *faultRun) mustBeClosed() {
	if n := r.fsys.Handles(); n != 0 {
		r.fatalf("%d files are open", n)
	}
}
