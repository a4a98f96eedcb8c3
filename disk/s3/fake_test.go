package s3

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"kivaloo/actors"
	"kivaloo/disk"
	"kivaloo/internal/must"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const size = 512

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// memory is a bucket in memory. All requests of all its users take effect one after the other.
type memory struct {
	mu         sync.Mutex
	objects    map[string]memoryObject
	careless   bool // it does not look at conditions
	requests   map[string]int
	deleted    []string // in order; the content only is, if the name ends in "="
	downUntil  time.Time
	failDelete error
}

type memoryObject struct {
	content []byte
	by      putter
}

func newMemory() *memory {
	return &memory{objects: make(map[string]memoryObject), requests: make(map[string]int)}
}

var errDown = errors.New("the service is down")

func (m *memory) begin(kind, key string) error {
	m.requests[kind]++
	m.requests[kind+" "+key]++
	if time.Now().Before(m.downUntil) {
		return errDown
	}
	return nil
}

func (o memoryObject) describe() object {
	return object{int64(len(o.content)), fmt.Sprintf("%x", md5.Sum(append([]byte(o.by.id), o.content...))), o.by}
}

func (m *memory) head(_ context.Context, key string) (object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin("HEAD", key); err != nil {
		return object{}, err
	}
	o, found := m.objects[key]
	if !found {
		return object{}, errNotFound
	}
	return o.describe(), nil
}

func (m *memory) get(_ context.Context, key string, offset, length int64) ([]byte, object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin("GET", key); err != nil {
		return nil, object{}, err
	}
	o, found := m.objects[key]
	if !found || length > 0 && offset >= int64(len(o.content)) {
		return nil, object{}, errNotFound
	}
	content := o.content[offset:]
	if length > 0 {
		content = content[:min(length, int64(len(content)))]
	}
	return slices.Clone(content), o.describe(), nil
}

func (m *memory) put(_ context.Context, key string, content []byte, when condition, by putter) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin("PUT", key); err != nil {
		return "", err
	}
	o, found := m.objects[key]
	if !m.careless && (when.absent && found || when.etag != "" && (!found || o.describe().etag != when.etag)) {
		return "", errCondition
	}
	if found && len(content) == 0 && !when.absent {
		m.deleted = append(m.deleted, key+"=")
	}
	o = memoryObject{slices.Clone(content), by}
	m.objects[key] = o
	return o.describe().etag, nil
}

func (m *memory) remove(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin("DELETE", key); err != nil {
		return err
	}
	if m.failDelete != nil {
		return m.failDelete
	}
	m.deleted = append(m.deleted, key)
	delete(m.objects, key)
	return nil
}

// has reports whether there is such an object.
func (m *memory) has(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, found := m.objects[key]
	return found
}

// count returns how many requests of a kind there were.
func (m *memory) count(kind string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.requests[kind]
}

// gone returns what has been deleted.
func (m *memory) gone() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.deleted)
}

// network is a way to a bucket on which requests are late, are lost, arrive twice, and are answered
// after their sender has given up. Time is that of a synctest bubble.
type network struct {
	bucket
	mu     sync.Mutex
	random *rand.Rand
	wild   bool
	dead   bool // the sender has died: nothing new is sent, but what is under way arrives
}

func (n *network) draw() (late, back time.Duration, fate float64, dead bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	late, back = time.Duration(n.random.IntN(20))*time.Millisecond, time.Duration(n.random.IntN(20))*time.Millisecond
	fate = n.random.Float64()
	if n.wild && n.random.IntN(20) == 0 {
		late = time.Duration(n.random.IntN(120)) * time.Second
	}
	return late, back, fate, n.dead
}

var errNetwork = errors.New("the connection was cut")

// send sends a request, and waits for its answer.
func send[T any](ctx context.Context, n *network, request func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	late, back, fate, dead := n.draw()
	if dead {
		<-ctx.Done()
		return none, ctx.Err()
	}
	answered := make(chan result, 1)
	go func() {
		time.Sleep(late)
		if n.wild && fate < 0.05 {
			return // lost
		}
		value, err := request()
		if n.wild && fate > 0.95 { // it arrives twice
			time.Sleep(back)
			_, _ = request()
		}
		time.Sleep(back)
		answered <- result{value, err}
	}()
	if n.wild && fate > 0.05 && fate < 0.1 {
		time.Sleep(late / 2)
		return none, errNetwork
	}
	select {
	case r := <-answered:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (n *network) head(ctx context.Context, key string) (object, error) {
	return send(ctx, n, func() (object, error) { return n.bucket.head(ctx, key) })
}

func (n *network) get(ctx context.Context, key string, offset, length int64) (content []byte, o object, err error) {
	type answer struct {
		content []byte
		o       object
	}
	a, err := send(ctx, n, func() (answer, error) {
		content, o, err := n.bucket.get(ctx, key, offset, length)
		return answer{content, o}, err
	})
	return a.content, a.o, err
}

func (n *network) put(ctx context.Context, key string, content []byte, when condition, by putter) (string, error) {
	content = slices.Clone(content)
	return send(ctx, n, func() (string, error) { return n.bucket.put(ctx, key, content, when, by) })
}

func (n *network) remove(ctx context.Context, key string) error {
	_, err := send(ctx, n, func() (struct{}, error) { return struct{}{}, n.bucket.remove(ctx, key) })
	return err
}

func (n *network) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead = true
}

// in runs a test in a bubble, where time does not pass but when all wait for it.
func in(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

func opened(t *testing.T, b bucket, o Options) *Store {
	t.Helper()
	o.Log = quiet
	s, err := open(t.Context(), b, o)
	must.Do(t, err)
	t.Cleanup(func() { s.Close() }) // also if the test ends early: a bubble's goroutines must end
	return s
}

func closed(t *testing.T, s *Store) {
	t.Helper()
	must.Do(t, s.Close())
}

// pages returns n blocks that say which they are.
func pages(text string, n int) (all [][]byte) {
	for i := range n {
		p := make([]byte, size)
		copy(p, fmt.Sprintf("%s/%d", text, i))
		all = append(all, p)
	}
	return all
}

// appended appends blocks at the end, and returns the first one's number.
func appended(t *testing.T, s disk.Store, text string, n int) uint64 {
	t.Helper()
	first := s.Info().Next
	next, ok, err := disk.AppendPages(s, first, pages(text, n))
	if err != nil || !ok || next <= first {
		t.Fatalf("append %s: next %d, ok %v, %v", text, next, ok, err)
	}
	return first
}

// text returns what a block says, "-" if it does not exist.
func text(t *testing.T, s disk.Store, block uint64) string {
	t.Helper()
	p := make([]byte, size)
	ok, err := disk.ReadBlock(s, block, p)
	must.Do(t, err)
	if !ok {
		return "-"
	}
	return strings.TrimRight(string(p), "\x00")
}

func free(s disk.Store, block uint64) {
	op := &disk.Op{Kind: disk.Free, Block: block, Done: disk.NewCompletions(new(actors.Doorbell))}
	s.Submit(op, op)
}
