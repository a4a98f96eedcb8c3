package simfs

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
)

// sectorBytes is the unit that a disk writes as a whole or not at all.
const sectorBytes = 512

// Question is one thing that a power cut leaves open. Its answers are the numbers below Answers.
// About says what they mean.
type Question struct {
	About   Thing
	Answers int
	// Few, if not nil, are the answers that Outcomes tries in place of all of them.
	Few []int
}

// Thing is what a Question is about.
type Thing uint8

const (
	// Name is a change of a name that was not synced. 0: it is lost; 1: it is on disk.
	Name Thing = iota
	// Length is the length of a file. 0: as on disk; 1: as the process sees it; the rest: the
	// lengths between.
	Length
	// Sector is 512 bytes of a file. 0: what is on disk, or zeros behind its end there; 1: what the
	// process sees; 2, where nothing was before: garbage.
	Sector
)

// Choose answers a question.
type Choose func(q Question) int

// Crash returns a possible state after a power cut at this moment, chosen by rng. It has no hook,
// no faults and no locks. Where nothing was before there are zeros, never garbage: see Left.
func (s *FS) Crash(rng *rand.Rand) *FS {
	mood := Mood(rng)
	return s.Left(func(q Question) int {
		answer := mood(q)
		if q.About == Sector {
			answer %= 2
		}
		return answer
	})
}

// Left is like Crash, but choose decides. It may leave garbage.
func (s *FS) Left(choose Choose) *FS {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := New(s.dir)
	after.capacity = s.capacity
	s.leave(choose, func(name string, n *inode, size int, sectors []int) {
		left := n
		if sectors != nil {
			content := n.content(size, sectors)
			left = &inode{data: content, durable: content}
		}
		after.names[name] = left.share()
	})
	after.durable = maps.Clone(after.names)
	return after
}

// Outcomes returns, for each possible state after a power cut at this moment, the answers with
// which Left makes it: see Answers. It returns nil if there are more than most. Of the lengths
// between the old and the new one it takes the ends of sectors, and the greatest.
func (s *FS) Outcomes(most int) (all [][]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	given := []int{}
	for {
		var asked []Question
		s.leave(func(q Question) int {
			asked = append(asked, q)
			if len(asked) > len(given) {
				given = append(given, 0)
			}
			return q.few()[given[len(asked)-1]]
		}, func(string, *inode, int, []int) {})
		if len(all) == most {
			return nil
		}
		answers := make([]int, len(asked))
		for i, q := range asked {
			answers[i] = q.few()[given[i]]
		}
		all = append(all, answers)
		last := len(given) - 1
		for last >= 0 && given[last]+1 == len(asked[last].few()) {
			last--
		}
		if last < 0 {
			return all
		}
		given = given[:last+1]
		given[last]++
	}
}

func (q Question) few() []int {
	if q.Few != nil {
		return q.Few
	}
	return []int{0, 1, 2}[:q.Answers]
}

// Answers returns a Choose that gives these answers, in order.
func Answers(answers []int) Choose {
	next := 0
	return func(Question) int {
		next++
		return answers[next-1]
	}
}

// Mood answers at random. For each kind of thing it picks a mood and keeps it: none, all, most, the
// first ones, the last ones, or a coin toss for each. So a crash that loses all or nothing is far
// more likely than with coin tosses alone.
func Mood(rng *rand.Rand) Choose {
	names, lengths, sectors := rng.IntN(4), rng.IntN(4), rng.IntN(8)
	turn, asked := rng.IntN(12), 0
	any := func(q Question) int { return rng.IntN(q.Answers) }
	return func(q Question) int {
		switch q.About {
		case Name:
			return []int{0, 1, any(q), any(q)}[names]
		case Length:
			return []int{0, 1, any(q), rng.IntN(2)}[lengths]
		}
		asked++
		switch sectors {
		case 0:
			return 0
		case 1:
			return 1
		case 2:
			return q.Answers - 1
		case 3: // all but a few
			if rng.IntN(8) > 0 {
				return 1
			}
		case 4: // the first ones
			if asked <= turn {
				return 1
			}
		case 5: // the last ones
			if asked > turn {
				return 1
			}
		}
		return any(q)
	}
}

// leave asks every open question, and calls file for each file that is left, in the order of names:
// with its length and the answer for each sector, or with nil sectors if the file is as it is on
// disk. It needs mu.
func (s *FS) leave(choose Choose, file func(name string, n *inode, size int, sectors []int)) {
	names := s.durable
	if len(s.lost)+len(s.unsynced) > 0 {
		names = maps.Clone(names)
	}
	for _, c := range slices.Concat(s.lost, s.unsynced) {
		if choose(Question{About: Name, Answers: 2}) == 1 {
			c.apply(names)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n := names[name]
		if n.settled() {
			file(name, n, len(n.durable), nil)
			continue
		}
		size := n.length(choose)
		sectors := make([]int, 0, size/sectorBytes+1)
		for at := 0; at < size; at += sectorBytes {
			sectors = append(sectors, n.sector(at, min(at+sectorBytes, size), choose))
		}
		file(name, n, size, sectors)
	}
}

// length asks for the length of a file.
func (n *inode) length(choose Choose) int {
	old, now := len(n.durable), len(n.data)
	low, high := min(old, now), max(old, now)
	if low == high {
		return low
	}
	few := []int{0, 1}
	for end := low + sectorBytes - low%sectorBytes; end < high; end += sectorBytes {
		few = append(few, 2+end-low-1)
	}
	if high-1 > low {
		few = append(few, 2+high-1-low-1)
	}
	switch answer := choose(Question{About: Length, Answers: 2 + high - low - 1, Few: few}); answer {
	case 0:
		return old
	case 1:
		return now
	default:
		return low + answer - 1
	}
}

// sector asks what a sector, or the part of it between two offsets, holds, if there is a choice.
func (n *inode) sector(from, to int, choose Choose) int {
	switch {
	case from >= len(n.data):
		return 0
	case from >= len(n.durable):
		return choose(Question{About: Sector, Answers: 3})
	case string(part(n.data, from, to)) == string(part(n.durable, from, to)):
		return 0
	}
	return choose(Question{About: Sector, Answers: 2})
}

// part returns what b has between two offsets; it may end before either.
func part(b []byte, from, to int) []byte { return b[min(from, len(b)):min(to, len(b))] }

// content returns what a file holds after a crash, by the answer for each sector.
func (n *inode) content(size int, sectors []int) []byte {
	left := make([]byte, size) // zeros: space that was allocated and never written
	copy(left, n.durable)
	for i, answer := range sectors {
		from, to := i*sectorBytes, min((i+1)*sectorBytes, size)
		switch answer {
		case 1:
			clear(left[from:to])
			copy(left[from:to], part(n.data, from, to))
		case 2:
			rubbish(left[from:to], uint64(from), uint64(size))
		}
	}
	return left
}

// rubbish fills p with bytes that look random. The same seeds give the same bytes.
func rubbish(p []byte, seed1, seed2 uint64) {
	rng := rand.NewPCG(seed1, seed2)
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, rng.Uint64())
		p = p[8:]
	}
	for i := range p {
		p[i] = byte(rng.Uint64())
	}
}

// Kill returns the state after a kill of the process at this moment. Everything is unchanged, and a
// later Crash can still undo what it could undo before. It has no hook, no faults and no locks.
func (s *FS) Kill() *FS {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := New(s.dir)
	after.capacity = s.capacity
	copies := make(map[*inode]*inode)
	clone := func(n *inode) *inode {
		if n == nil {
			return nil
		}
		if copies[n] == nil {
			copies[n] = n.share()
		}
		return copies[n]
	}
	for name, n := range s.names {
		after.names[name] = clone(n)
	}
	for name, n := range s.durable {
		after.durable[name] = clone(n)
	}
	cloneAll := func(changes []change) []change {
		changes = slices.Clone(changes)
		for i := range changes {
			changes[i].node = clone(changes[i].node)
		}
		return changes
	}
	after.lost, after.unsynced = cloneAll(s.lost), cloneAll(s.unsynced)
	return after
}

// DropCache evicts all clean pages, like a kernel that needs memory. The process then sees what is
// on disk. Written data that is not yet synced stays. Data of a failed Sync does not, because the
// kernel takes it for clean.
func (s *FS) DropCache() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.names {
		n.dropCache(0, len(n.data))
	}
}
