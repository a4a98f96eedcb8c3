package kivaloo

import "time"

// KeepSnapshotEvery returns o with another interval at which a backup tells the server that its
// snapshot is still in use.
func (o BackupOptions) KeepSnapshotEvery(every time.Duration) BackupOptions {
	o.keepEvery = every
	return o
}
