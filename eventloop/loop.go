package eventloop

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	gneterrors "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"github.com/panjf2000/gnet/v2/pkg/queue"
	"golang.org/x/sys/unix"

	"kivaloo/actors"
)

// ErrStopped means that the loop has been stopped.
var ErrStopped = errors.New("event loop stopped")

// Loop is one poller, one goroutine, and the connections that they serve.
//
// Invariants:
//
//  1. Everything but the first group of fields belongs to the goroutine in Run.
//  2. Only doChores closes descriptors. The poller calls it after the last event of a batch. So no
//     event of an old descriptor can reach a new connection with the same number.
//  3. Whenever the poller may block, the bell is armed, and after arming it the mailbox was empty
//     and there were no posts.
//  4. The poller is triggered only under mu and before ended is set. So a late Send cannot write to
//     a descriptor that now belongs to another file.
//  5. table[fd] is the connection or listener with that descriptor, from its registration until it
//     is closed.
//  6. Sockets are read only after events, never in doChores. gnet repeats doChores until nothing is
//     queued. So this ends, because no new request comes in, and other connections do not have to
//     wait.
type Loop struct {
	log     *slog.Logger
	metrics *Metrics // nil: measure nothing
	poller  *netpoll.Poller
	chores  queue.Func                       // doChores, made once
	mail    *actors.Mailbox[Output, *Output] // limited by what connections are owed
	bell    *actors.Doorbell
	mu      sync.Mutex
	posts   []func() // under mu
	ended   bool     // under mu: Run is over, and the poller closed
	posted  atomic.Bool

	together together
	long     long

	table    []source
	open     int // number of non-nil entries in table
	attached int // how many of them are attached connections
	buf      []byte
	spares   spares
	iov      [iovMax]unix.Iovec
	spent    []func()    // an empty slice, for posts
	touched  []*Conn     // got output in the drain under way
	dying    []source    // to be closed by the next doChores
	starved  []*acceptor // waiting for descriptors
	linger   []*Conn     // closing, with output that the peer does not accept
	ticker   *time.Timer // calls onTick while starved or linger hold any
	ticking  bool
	warned   time.Time // when an acceptor last warned
	stopping bool
	deadline time.Time // of stopping
	grace    *time.Timer

	// Copies of constants, shorter in tests.
	tickEvery, lingerFor, longFor time.Duration
}

// source is the owner of a descriptor in the table. The loop calls all methods.
type source interface {
	// ready handles events of the poller.
	ready(events uint32)
	// stop begins a clean end. The source puts itself on dying when it has ended.
	stop()
	// kill puts the source on dying at once.
	kill(why error)
	// close closes the descriptor, and reports that.
	close()
}

// New returns a loop that does nothing until Run. log gets messages that concern no single
// connection. The loop holds descriptors that only Run releases, so even a loop that is not needed
// must be stopped and run.
func New(log *slog.Logger) (*Loop, error) {
	poller, err := netpoll.OpenPoller()
	if err != nil {
		return nil, fmt.Errorf("open a poller: %w", err)
	}
	l := &Loop{
		log: log, poller: poller, buf: make([]byte, readBufferBytes),
		tickEvery: tick, lingerFor: lingerTimeout, longFor: longTimeout,
	}
	l.together.max = defaultMemory
	l.chores = l.doChores
	l.bell = actors.NewDoorbell(l.wake)
	l.mail = actors.NewMailbox[Output](l.bell)
	l.bell.Arm()
	return l, nil
}

// LimitMemory sets how many bytes all accepted connections together can take for requests, answers
// and input. Each may have a little beyond that. It must be called before Run.
func (l *Loop) LimitMemory(bytes int) { l.together.max = bytes }

// Run serves on the calling goroutine until Stop has finished. Then all connections and listeners
// are closed, and all posts have run. An error means that the poller failed and that connections
// were cut off.
func (l *Loop) Run() error {
	err := l.poller.Polling(l.onEvent)
	why := ErrStopped
	if errors.Is(err, gneterrors.ErrEngineShutdown) {
		err = nil
	} else {
		err = fmt.Errorf("wait for events: %w", err)
		why = err
	}
	l.stopping = true
	for {
		l.killAll(why)
		l.reap()
		if l.retire() {
			return err
		}
		l.runPosts()
	}
}

// retire ends the loop, unless there are posts to run first.
func (l *Loop) retire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.posts) > 0 || len(l.dying) > 0 {
		return false
	}
	l.ended = true
	l.poller.Close()
	for _, t := range []*time.Timer{l.ticker, l.grace} {
		if t != nil {
			t.Stop()
		}
	}
	return true
}

// Post runs f on the loop soon. Any goroutine may call it. It is meant for rare calls, because
// posts are not batched. The posts of one goroutine run in order. It returns false, and never runs
// f, if Run is over.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return false
	}
	l.posts = append(l.posts, f)
	l.posted.Store(true)
	l.mu.Unlock()
	l.bell.Ring()
	return true
}

// wake makes the poller call doChores.
func (l *Loop) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	if err := l.poller.Trigger(queue.HighPriority, l.chores, nil); err != nil {
		panic("eventloop: wake the poller: " + err.Error()) // its eventfd is open and never full
	}
}

// onEvent is called by the poller for every ready descriptor.
func (l *Loop) onEvent(fd int, events uint32, _ netpoll.IOFlags) error {
	l.bell.Disarm()
	if fd < len(l.table) && l.table[fd] != nil {
		l.table[fd].ready(events)
	}
	l.settle()
	return nil
}

// doChores is called by the poller after a batch of events, if wake was called.
func (l *Loop) doChores(any) error {
	l.bell.Disarm()
	l.settle()
	l.reap()
	l.long.pass(l)
	if l.stopping && l.open == l.attached {
		l.stopAttached()
	}
	if l.stopping && l.open == 0 {
		return gneterrors.ErrEngineShutdown
	}
	return nil
}

// settle handles all pushed output and all posts, and leaves the bell armed.
func (l *Loop) settle() {
	for {
		l.bell.Arm()
		if l.mail.Empty() && !l.posted.Load() {
			return
		}
		l.bell.Disarm()
		l.deliver()
		l.runPosts()
	}
}

// deliver passes answers to their connections, and writes once for each connection.
func (l *Loop) deliver() {
	for o := l.mail.Drain(); o != nil; {
		next := o.Next()
		o.SetNext(nil)
		if c := o.conn; c.queue(o) && !c.touched {
			c.touched = true
			l.touched = append(l.touched, c)
		}
		o = next
	}
	for _, c := range l.touched {
		c.touched = false
		c.answered()
	}
	clear(l.touched)
	l.touched = l.touched[:0]
	l.long.pass(l)
}

func (l *Loop) runPosts() {
	l.mu.Lock()
	posts := l.posts
	l.posts = l.spent
	l.posted.Store(false)
	l.mu.Unlock()
	for _, f := range posts {
		f()
	}
	clear(posts)
	l.spent = posts[:0]
}

// register adds s to the poller and the table.
func (l *Loop) register(fd int, s source) error {
	if err := l.poller.AddRead(&netpoll.PollAttachment{FD: fd}, true); err != nil {
		return fmt.Errorf("watch a socket: %w", err)
	}
	for fd >= len(l.table) {
		l.table = append(l.table, nil)
	}
	l.table[fd] = s
	l.open++
	return nil
}

// rearm makes the poller report fd again if it is ready, after all other ready descriptors. The
// kernel's list of ready descriptors is our run queue.
func (l *Loop) rearm(fd int, writable bool) {
	modify := l.poller.ModRead
	if writable {
		modify = l.poller.ModReadWrite
	}
	if err := modify(&netpoll.PollAttachment{FD: fd}, true); err != nil {
		panic("eventloop: watch a socket again: " + err.Error()) // it is registered, nothing is allocated
	}
}

// doom makes the loop close s after the current batch of events.
func (l *Loop) doom(s source) {
	if len(l.dying) == 0 {
		l.wake()
	}
	l.dying = append(l.dying, s)
}

// reap closes the doomed sources.
func (l *Loop) reap() {
	for len(l.dying) > 0 {
		dying := l.dying
		l.dying = nil
		for _, s := range dying {
			s.close()
		}
		l.retryStarved() // there are free descriptors again
	}
}

// retryStarved makes the listeners that failed to accept try again.
func (l *Loop) retryStarved() {
	for _, a := range l.starved {
		a.starved = false
		l.Post(a.accept)
	}
	clear(l.starved)
	l.starved = l.starved[:0]
}

// forget removes a descriptor that is about to be closed.
func (l *Loop) forget(fd int) {
	l.table[fd] = nil
	l.open--
}

// wantTick makes onTick be called after a while.
func (l *Loop) wantTick() {
	if !l.ticking {
		l.ticking = true
		l.ticker = time.AfterFunc(l.tickEvery, func() { l.Post(l.onTick) })
	}
}

// onTick retries what failed for lack of descriptors, and gives up on peers that accept nothing.
func (l *Loop) onTick() {
	l.ticking = false
	l.retryStarved()
	now, kept := time.Now(), l.linger[:0]
	l.long.watch(l, now)
	for _, c := range l.linger {
		if c.stillLingers(now) {
			kept = append(kept, c)
		}
	}
	clear(l.linger[len(kept):])
	l.linger = kept
	if len(l.linger) > 0 {
		l.wantTick()
	}
}
