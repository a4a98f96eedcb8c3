package disk

import (
	"container/list"
	"errors"
	"sync"
)

// descriptors keeps block files open for reading. It keeps the most recently used ones, up to
// limit, and any others that are being read.
type descriptors struct {
	dir   Dir
	limit int

	mu     sync.Mutex
	open   map[*file]*descriptor
	recent list.List // of *descriptor; all values of open, most recently used first
}

// descriptor is a block file that is open for reading.
//
// Invariant: it is closed if and only if it has no users and is not in the cache.
type descriptor struct {
	File
	of *file

	// Guarded by descriptors.mu.
	users int
	place *list.Element // in recent; nil if it is not in the cache
}

func newDescriptors(dir Dir, limit int) *descriptors {
	return &descriptors{dir: dir, limit: limit, open: make(map[*file]*descriptor)}
}

// acquire returns a descriptor for f. It stays open until it is released.
func (ds *descriptors) acquire(f *file) (*descriptor, error) {
	ds.mu.Lock()
	d := ds.use(f)
	ds.mu.Unlock()
	if d != nil {
		return d, nil
	}
	opened, err := ds.dir.Open(f.name, false)
	if err != nil {
		return nil, err
	}

	ds.mu.Lock()
	if d := ds.use(f); d != nil { // another goroutine was faster
		ds.mu.Unlock()
		opened.Close()
		return d, nil
	}
	d = &descriptor{File: opened, of: f, users: 1}
	var unused *descriptor
	// A file that is no longer part of the store must not be kept open, because it would keep its
	// disk space.
	if !f.dropped.Load() {
		ds.open[f] = d
		d.place = ds.recent.PushFront(d)
		if ds.recent.Len() > ds.limit {
			unused = ds.evict(ds.recent.Back().Value.(*descriptor))
		}
	}
	ds.mu.Unlock()
	if unused != nil {
		unused.Close()
	}
	return d, nil
}

// use adds a user to f's descriptor, if there is one. It needs mu.
func (ds *descriptors) use(f *file) *descriptor {
	d := ds.open[f]
	if d != nil {
		d.users++
		ds.recent.MoveToFront(d.place)
	}
	return d
}

// evict removes d from the cache. It returns d if it must be closed now. Otherwise its last user
// closes it. It needs mu.
func (ds *descriptors) evict(d *descriptor) *descriptor {
	delete(ds.open, d.of)
	ds.recent.Remove(d.place)
	d.place = nil
	if d.users > 0 {
		return nil
	}
	return d
}

// release ends one use of d.
func (ds *descriptors) release(d *descriptor) {
	ds.mu.Lock()
	d.users--
	unused := d.users == 0 && d.place == nil
	ds.mu.Unlock()
	if unused {
		d.Close()
	}
}

// forget stops keeping f open. f.dropped must be set already.
func (ds *descriptors) forget(f *file) {
	ds.mu.Lock()
	var unused *descriptor
	if d := ds.open[f]; d != nil {
		unused = ds.evict(d)
	}
	ds.mu.Unlock()
	if unused != nil {
		unused.Close()
	}
}

// close closes all descriptors. None may be in use.
func (ds *descriptors) close() error {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	var err error
	for f, d := range ds.open {
		err = errors.Join(err, d.Close())
		delete(ds.open, f)
	}
	ds.recent.Init()
	return err
}
