package wire

import "hash/crc32"

// The protocol's checksum is CRC-32C without the final inversion, and with the
// register starting not at all ones but as a single leading 1 bit leaves it. The
// library inverts the register on its way in and out, so both are undone here,
// and its hardware implementation is used as it is.
const startSum = ^uint32(0x82F63B78)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the checksum of p. It is stored little-endian.
func Checksum(p []byte) uint32 { return ^crc32.Update(startSum, castagnoli, p) }
