package s3

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"kivaloo/disk"
)

// blocksShift is the logarithm of how many block numbers an object has.
const blocksShift = 24

// maxObject is the last object whose blocks have numbers.
const maxObject = math.MaxUint64 >> blocksShift

// markerKey is the object that says what has been deleted.
const markerKey = "DeletedMarker"

// objectKey is the name of object n: four digits that spread names, then n.
func objectKey(n uint64) string {
	sum := md5.Sum(binary.BigEndian.AppendUint64(nil, n))
	return fmt.Sprintf("%02x%02x_%016x", sum[0], sum[1], n)
}

// objectOf returns the object that has a block, and the block's index in it.
func objectOf(block uint64) (n, index uint64) {
	return block>>blocksShift + 1, block & (1<<blocksShift - 1)
}

// firstBlock returns the first block of object n.
func firstBlock(n uint64) uint64 { return (n - 1) << blocksShift }

// lastBlock returns the last block of an object of so many bytes.
func lastBlock(n uint64, length int64, blockSize int) uint64 {
	if n == 0 || length == 0 {
		return disk.NoBlock
	}
	return firstBlock(n) + uint64(length)/uint64(blockSize) - 1
}

// Which objects may be deleted. The search for the last object looks for powers of two, and then
// sets lower and lower bits. So these objects must stay: powers of two, and the number of the last
// one with its lowest bits cleared. The search for m needs a few objects that the search for m+1
// does not.

// passed returns the objects that can go once m+1 exists, and the blocks of object m and of all
// before it are unneeded. They are m, and m with some of its trailing ones cleared from the lowest
// on, but no power of two. For example, 7 is 111 in binary: 111 and 110 can go, and 100 stays.
func passed(m uint64) (gone []uint64) {
	for bit := range bits.TrailingZeros64(m + 1) {
		x := m &^ (1<<bit - 1)
		if x != 1<<bit {
			gone = append(gone, x)
		}
	}
	return gone
}

// emptied reports whether object m, once it is unneeded, is overwritten with nothing: it is a power
// of two, or passed deletes it much later.
func emptied(m uint64) bool { return m&(m-1) == 0 || m%markerEvery == 0 }
