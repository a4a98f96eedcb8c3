//go:build !unix

package disk

// MaxOpenFiles returns the most block files that a store keeps open for reading.
func MaxOpenFiles() int { return openFilesMax }
