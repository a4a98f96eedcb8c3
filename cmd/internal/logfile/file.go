package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// FollowEvery is how often the owner of a File should call Follow.
const FollowEvery = time.Second

// timeFormat is the beginning of a line, in UTC.
const timeFormat = "2006-01-02 15:04:05"

// File is an open log file. It is not safe for concurrent use.
type File struct {
	path string
	f    *os.File
	torn bool // the last line was only partly written
}

// Open opens the log at path for appending, and creates it if necessary. It must be a regular file.
// If its last line is incomplete, Open ends that line.
func Open(path string) (*File, error) {
	f, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return &File{path: path, f: f}, nil
}

func open(path string) (*os.File, error) {
	// O_NONBLOCK keeps a pipe from blocking. endLine refuses it.
	const flags = os.O_RDWR | os.O_APPEND | os.O_CREATE | syscall.O_NONBLOCK
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return nil, err
	}
	if err := endLine(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// endLine refuses everything but regular files, and ends an incomplete last line.
func endLine(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not an ordinary file")
	}
	if info.Size() == 0 {
		return nil
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); err != nil {
		return err
	}
	if last[0] == '\n' {
		return nil
	}
	_, err = f.Write([]byte("\n"))
	return err
}

// Write adds a line about an event at a time, in one write. text must not contain a newline. The
// File can be used after an error: an incomplete line is ended before the next one.
func (l *File) Write(at time.Time, text string) error {
	line := make([]byte, 0, 1+len(timeFormat)+len(text)+1)
	if l.torn {
		line = append(line, '\n')
	}
	line = at.UTC().AppendFormat(line, timeFormat)
	line = append(append(line, text...), '\n')
	n, err := l.f.Write(line)
	if err != nil {
		l.torn = l.torn || n > 0
		return fmt.Errorf("write to the log: %w", err)
	}
	l.torn = false
	return nil
}

// Follow opens the log again if its path no longer leads to the open file. After an error, lines
// still go into the open file.
func (l *File) Follow() error {
	there, err := os.Stat(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for the log: %w", err)
	}
	if err == nil {
		ours, err := l.f.Stat()
		if err != nil {
			return fmt.Errorf("look at the log: %w", err)
		}
		if os.SameFile(there, ours) {
			return nil
		}
	}
	f, err := open(l.path)
	if err != nil {
		return fmt.Errorf("open the log again: %w", err)
	}
	old := l.f
	l.f, l.torn = f, false
	if err := old.Close(); err != nil {
		return fmt.Errorf("close the log that was moved away: %w", err)
	}
	return nil
}

// Close closes the file.
func (l *File) Close() error { return l.f.Close() }
