package kivaloo

import "time"

// KeepSnapshotEvery changes the interval at which a backup tells the server that its snapshot is
// still in use.
func (o BackupOptions) KeepSnapshotEvery(every time.Duration) BackupOptions {
	o.keepEvery = every
	return o
}
