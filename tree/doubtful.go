package tree

import (
	"errors"

	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// Doubtful judges whether a block without a checksum is what was written. It is a
// disk.Options.Doubtful.
//
// A page is judged together with its whole append, by the seal. If the seal does not fit, the
// append is damaged, or was cut short and never acknowledged. A whole append behind it rules out
// the latter. Then all its blocks are bad, unless a single flipped bit shows which one is. In an
// append without a seal, a block that is no page is bad or belongs to an append that was cut short.
//
// Journal blocks are checked when they are read.
func Doubtful(block uint64, f disk.Found) (disk.Verdict, error) {
	one := disk.Stretch{First: block, Next: block + 1}
	v := disk.Verdict{Stretch: one}
	if f.Content != nil && journal.Is(f.Content) {
		return v, nil
	}
	j := &judge{found: f, buf: make([]byte, f.BlockSize)}
	p, err := j.read(block)
	switch {
	case err != nil:
		return v, err
	case isJournal(p):
		if _, err := journal.ParseAt(block, p); err != nil {
			v.Bad, v.Torn = one, !journal.WasWhole(err) && !journal.OneBitOff(p)
		}
		return v, nil
	}
	a, end, err := j.appendOf(block)
	if err != nil {
		return v, err
	}
	if a.root == 0 {
		return j.unsealed(disk.Stretch{First: block, Next: max(end, v.Next)})
	}
	return j.verdict(a)
}

// judge is the state of Doubtful.
type judge struct {
	found disk.Found
	buf   []byte
}

// isJournal reports whether a block is a journal block, perhaps with one bit flipped.
func isJournal(p []byte) bool { return journal.Is(p) || journal.OneBitOff(p) }

func (j *judge) read(block uint64) ([]byte, error) { return j.buf, j.found.Read(block, j.buf) }

// appendOf returns the append that contains a page, as its seal or flush record describes it. Its
// root is 0 if there is none. Then end is where the search ended, and nothing is known of the pages
// before it.
func (j *judge) appendOf(block uint64) (a sealed, end uint64, err error) {
	for end = block; end < j.found.File.Next && end <= j.found.Judged; end++ {
		p, err := j.read(end)
		if err != nil {
			return a, end, err
		}
		if isJournal(p) {
			b, err := journal.ParseAt(end, p)
			if err != nil || b.Kind != journal.Flush || b.First > block || b.First == end || b.First < j.found.File.First {
				return a, end, nil
			}
			a := byRecord(&b)
			if a.lost { // a seal must come before it; anything in it but the sum may be damaged
				p, err = j.read(end - 1)
				a = bySeal(page.Seal{First: b.First, Sum: page.SealSum(p)}, end-1, end+1)
			}
			return a, end, err
		}
		if seal, ok := page.ParseSeal(end, p); ok {
			if seal.First > block || seal.First < j.found.File.First {
				return a, end, nil
			}
			a = bySeal(seal, end, end+1)
			if a.root < j.found.File.Next {
				p, err = j.read(a.root)
				if err == nil && isJournal(p) {
					a.root++ // behind the flush record
				}
			}
			return a, end, err
		}
		if l, err := page.ParseHead(p); err == nil && l.Root {
			if root, err := readRoot(end, p); err == nil && root.lostSeal() {
				a = lostSeal(block, end)
			}
			return a, end + 1, nil
		}
	}
	return a, end, nil
}

// unsealed judges blocks that have no seal. The first run of blocks that are no pages is bad, or
// belongs to an append that was cut short.
func (j *judge) unsealed(s disk.Stretch) (disk.Verdict, error) {
	v := disk.Verdict{Stretch: s, Torn: true}
	for at := s.First; at < s.Next; at++ {
		p, err := j.read(at)
		if err != nil {
			return v, err
		}
		_, err = page.Parse(p)
		switch isPage := err == nil; {
		case !isPage && v.Bad.Next == 0:
			v.Bad = disk.Stretch{First: at, Next: at + 1}
		case !isPage:
			v.Bad.Next++
		case v.Bad.Next > 0:
			v.Next = v.Bad.Next
			return v, nil
		}
	}
	return v, nil
}

// verdict judges every block of an append except the root. Opening the store judges the root.
func (j *judge) verdict(a sealed) (disk.Verdict, error) {
	all := disk.Stretch{First: a.first, Next: a.root}
	v := disk.Verdict{Stretch: all, Bad: all}
	if a.root < j.found.File.Next {
		off, err := a.off(j.read)
		switch {
		case errors.Is(err, errNoSeal):
		case err != nil:
			return v, err
		case off == 0:
			v.Next, v.Bad = a.root+1, disk.Stretch{}
			return v, nil
		default:
			if bad, ok := a.flipped(off, j.found.BlockSize, j.read); ok {
				v.Next, v.Bad = a.root+1, disk.Stretch{First: bad, Next: bad + 1}
			}
		}
	}
	followed, err := j.followed(a.root)
	v.Torn = !followed
	return v, err
}

// followed reports whether a block has a whole append behind it.
func (j *judge) followed(last uint64) (bool, error) {
	for at := last + 1; at < j.found.End; at++ {
		p, err := j.read(at)
		if err != nil {
			return false, err
		}
		if isJournal(p) {
			if b, err := journal.ParseAt(at, p); err == nil && b.First > last {
				return true, nil
			}
			continue
		}
		seal, ok := page.ParseSeal(at, p)
		if !ok || seal.First <= last || seal.First > at {
			continue
		}
		a := bySeal(seal, at, at+1)
		for ; a.root <= at+2 && a.root < j.found.End; a.root++ { // with or without a flush record between them
			if off, err := a.off(j.read); err != nil || off == 0 {
				return err == nil, err
			}
		}
	}
	return false, nil
}
