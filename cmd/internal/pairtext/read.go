package pairtext

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"kivaloo"
	"kivaloo/cmd/internal/dumpstream"
)

// Errors for inputs that belong to other commands.
var (
	errIsBackup = errors.New("the input is a backup: `kivaloo restore FILE DIR` makes a store of it")
	errIsDump   = errors.New("the input is a dump: store its pairs with `kivaloo load`")
	errIsArray  = errors.New("the input is a JSON array: write each of its objects on a line of its own, for example with `jq -c '.[]'`")
	errUnknown  = errors.New("the input is neither JSON objects, one a line, nor CSV below a line with the names key and value")
)

var byteOrderMark = []byte("\xef\xbb\xbf")

// NewReader returns a reader of pairs in JSON or CSV, whichever r contains.
func NewReader(r io.Reader) (dumpstream.Source, error) {
	in := bufio.NewReaderSize(r, bufferBytes)
	head, err := in.Peek(headBytes)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if rest, marked := bytes.CutPrefix(head, byteOrderMark); marked {
		head = rest
		_, _ = in.Discard(len(byteOrderMark)) // they are buffered
	}
	switch first, _, _ := bytes.Cut(head, []byte("\n")); {
	case kivaloo.IsBackup(head):
		return nil, errIsBackup
	case len(bytes.TrimSpace(head)) == 0 && err == io.EOF, IsJSON(head):
		return newJSONReader(in), nil
	case isArray(head):
		return nil, errIsArray
	case bytes.Contains(first, []byte(keyColumn)) && bytes.Contains(first, []byte(valueColumn)) && bytes.ContainsRune(first, ','):
		return newCSVReader(in), nil
	case dumpstream.IsDump(head):
		return nil, errIsDump
	}
	return nil, errUnknown
}

// IsJSON reports whether an input that begins with head holds JSON objects.
func IsJSON(head []byte) bool {
	head = bytes.TrimSpace(head)
	return len(head) > 0 && head[0] == '{' && (len(head) == 1 || bytes.IndexByte([]byte("\" \t\r\n}"), head[1]) >= 0)
}

// isArray reports whether an input that begins with head is a JSON array of objects.
func isArray(head []byte) bool {
	rest, ok := bytes.CutPrefix(bytes.TrimSpace(head), []byte("["))
	return ok && bytes.HasPrefix(bytes.TrimSpace(rest), []byte("{"))
}
