package kivaloo

import "time"

// KeepSnapshotEvery changes how often a backup tells the server that its snapshot is still in use.
func KeepSnapshotEvery(every time.Duration) BackupOption {
	return func(o *backupOptions) { o.keepEvery = every }
}
