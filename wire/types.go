package wire

// Every request record begins with one of these types.
const (
	TypeLBSParams  = 0x0 // obsolete form of PARAMS2
	TypeLBSGet     = 0x1
	TypeLBSAppend  = 0x2
	TypeLBSFree    = 0x3
	TypeLBSParams2 = 0x4

	TypeParams = 0x100
	TypeSet    = 0x110
	TypeCAS    = 0x111
	TypeAdd    = 0x112
	TypeModify = 0x113
	TypeDelete = 0x120
	TypeCAD    = 0x121
	TypeGet    = 0x130
	TypeRange  = 0x131

	// Extensions: requests that the original does not have. The original's types are small numbers,
	// so a type with the top bit set is never one of them. A server that does not know a type
	// closes the connection. So a client sends these only to a server that offers them (see
	// ParseKVHello).
	TypeApply       = 0x80000110
	TypeDeleteRange = 0x80000122
	TypeGetAt       = 0x80000130
	TypeScan        = 0x80000131
	TypeSnapshot    = 0x80000140
	TypeRelease     = 0x80000141
	TypeWatch       = 0x80000150
	TypeUnwatch     = 0x80000151

	TypeS3Put    = 0x10000
	TypeS3Get    = 0x10010
	TypeS3Range  = 0x10011
	TypeS3Head   = 0x10020
	TypeS3Delete = 0x10030

	TypeDDBPut    = 0x10100
	TypeDDBICAS   = 0x10101
	TypeDDBCreate = 0x10102
	TypeDDBGet    = 0x10110
	TypeDDBGetC   = 0x10111
	TypeDDBDelete = 0x10120
)

var typeNames = map[uint32]string{
	TypeLBSParams: "LBS_PARAMS", TypeLBSParams2: "LBS_PARAMS2", TypeLBSGet: "LBS_GET",
	TypeLBSAppend: "LBS_APPEND", TypeLBSFree: "LBS_FREE",

	TypeParams: "KVLDS_PARAMS", TypeSet: "KVLDS_SET", TypeCAS: "KVLDS_CAS", TypeAdd: "KVLDS_ADD",
	TypeModify: "KVLDS_MODIFY", TypeDelete: "KVLDS_DELETE", TypeCAD: "KVLDS_CAD",
	TypeGet: "KVLDS_GET", TypeRange: "KVLDS_RANGE",
	TypeApply: "KVLDS_APPLY", TypeDeleteRange: "KVLDS_DELETE_RANGE", TypeGetAt: "KVLDS_GET_AT",
	TypeScan: "KVLDS_SCAN", TypeSnapshot: "KVLDS_SNAPSHOT", TypeRelease: "KVLDS_RELEASE",
	TypeWatch: "KVLDS_WATCH", TypeUnwatch: "KVLDS_UNWATCH",

	TypeS3Put: "S3_PUT", TypeS3Get: "S3_GET", TypeS3Range: "S3_RANGE", TypeS3Head: "S3_HEAD",
	TypeS3Delete: "S3_DELETE",

	TypeDDBPut: "DDBKV_PUT", TypeDDBICAS: "DDBKV_ICAS", TypeDDBCreate: "DDBKV_CREATE",
	TypeDDBGet: "DDBKV_GET", TypeDDBGetC: "DDBKV_GETC", TypeDDBDelete: "DDBKV_DELETE",
}

// TypeName returns the name of a request type for logs, or "UNKNOWN".
func TypeName(typ uint32) string {
	if name, ok := typeNames[typ]; ok {
		return name
	}
	return "UNKNOWN"
}

// Names of the services, for errors.
const (
	lbsService = "block store"
	kvService  = "key-value"
	s3Service  = "S3"
	ddbService = "DynamoDB"
)
