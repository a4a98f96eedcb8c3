package wire

// Status of the answer to BACKUP.
const (
	BackupOK      = 0
	BackupGone    = 1 // the snapshot is not there any more
	BackupTooMany = 2 // no further snapshot can be kept at the moment
	BackupFailed  = 3 // the server could not do it, as with a full disk or a damaged page
)

// KVBackup is the answer to BACKUP:
//
//	+--------+----------+---------+----------+-----------+
//	| status | snapshot | n       | KEY next | n pairs   |   status 0
//	+--------+----------+---------+----------+-----------+
//	  u32      u64        u32                  KEY, KEY
//	+--------+
//	| status |                                               status 1, 2, 3
//	+--------+
//
// From n on it is as the answer to RANGE: everything in the snapshot from the start up to next is
// there; an empty next means that there is nothing left.
type KVBackup struct {
	Status   uint32
	Snapshot uint64 // to ask for the rest with; not 0
	N        uint32
	Next     []byte
	Pairs    []byte // N times a length byte, the key, a length byte, the value
}

// AppendKVBackup appends the record of a to dst.
func AppendKVBackup(dst []byte, a *KVBackup) []byte {
	dst = appendU32(dst, a.Status)
	if a.Status != BackupOK {
		return dst
	}
	dst = appendU64(dst, a.Snapshot)
	dst = appendU32(dst, a.N)
	dst = appendKey(dst, a.Next)
	return append(dst, a.Pairs...)
}

// ParseKVBackup reads the answer to a BACKUP that asked for max bytes. CutPair takes pairs apart,
// and cannot fail on what has been checked here. The slices alias record.
func ParseKVBackup(record []byte, max uint32) (a KVBackup, err error) {
	const what = "answer to KVLDS_BACKUP"
	f := fields{rest: record}
	a.Status = f.u32("the status")
	switch {
	case f.fault == "" && a.Status > BackupFailed:
		return KVBackup{}, badStatus(TypeBackup, a.Status)
	case a.Status != BackupOK:
		return a, f.done(what, len(record))
	}
	a.Snapshot = f.u64("the snapshot")
	a.N = f.u32("the count")
	a.Next = f.key("the next key")
	if f.fault != "" {
		return KVBackup{}, f.describe(what, len(record))
	}
	if a.Snapshot == 0 {
		return KVBackup{}, badRecord(what, len(record), "snapshot 0")
	}
	if a.Pairs, err = f.pairs(a.N, max, what, len(record)); err != nil {
		return KVBackup{}, err
	}
	return a, nil
}
