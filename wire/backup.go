package wire

// Status of the answer to BACKUP.
const (
	BackupOK      = 0
	BackupGone    = 1 // the snapshot is gone
	BackupTooMany = 2 // no further snapshot can be kept now
	BackupFailed  = 3 // the server failed, for instance because of a full disk or a damaged page
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
// From n on it is like the answer to RANGE: it has everything in the snapshot from the start up to
// next. An empty next means that nothing is left.
type KVBackup struct {
	Status   uint32
	Snapshot uint64 // for the following requests; not 0
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

// ParseKVBackup parses the answer to a BACKUP that asked for max bytes. The pairs can be passed to
// CutPair, which cannot fail on them. The slices alias record.
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
