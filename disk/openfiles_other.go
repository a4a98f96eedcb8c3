//go:build !unix

package disk

// MaxOpenFiles returns how many block files a store keeps open for reading at most.
func MaxOpenFiles() int { return openFilesMax }
