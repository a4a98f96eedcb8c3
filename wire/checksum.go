package wire

import "hash/crc32"

// The protocol's checksum is CRC-32C without the final inversion. The register does not start with
// all ones, but as a single leading 1 bit leaves it. The library inverts the register at both ends.
// Undoing that here allows to use its hardware implementation.
const startSum = ^uint32(0x82F63B78)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the checksum of p. It is stored little-endian.
func Checksum(p []byte) uint32 { return ^crc32.Update(startSum, castagnoli, p) }
