package blacklist

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

const (
	maxSize  = 2 << 30 // of the file
	reported = 10      // bad lines
	buffer   = 256 << 10
	breather = 1 << 14 // lines between two rests
)

// A FileError is why a file was not taken.
type FileError struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"` // 0: it is about the whole file
	Reason string `json:"reason"`

	cause error // why it could not be read
}

// Error implements error.
func (e *FileError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Reason
	}
	return fmt.Sprintf("%s: line %d: %s", e.File, e.Line, e.Reason)
}

// Unwrap returns why a file could not be read, nil for one that could.
func (e *FileError) Unwrap() error { return e.cause }

// A BadLine was left out.
type BadLine struct {
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

// A content is what was found in a file.
type content struct {
	set      *set
	size     int64
	verified bool // by a checksum
	bad      int
	firstBad []BadLine
}

// read reads a file and, if there is one, its checksum. Errors: a *FileError, or
// context.Cause(ctx) when ctx ends.
func read(ctx context.Context, name string, p *pace) (content, error) {
	want, err := readChecksum(checksumFile(name))
	if err != nil {
		return content{}, err
	}
	file, err := open(name)
	if err != nil {
		return content{}, err
	}
	defer file.Close()

	digest, aside := sha256.New(), io.Discard
	if want != nil {
		aside = digest
	}
	in := io.TeeReader(io.LimitReader(file, maxSize+1), aside)
	r := &reader{name: name, in: bufio.NewReaderSize(in, buffer)}
	if err := r.readAll(ctx, p); err != nil {
		return content{}, err
	}
	if want == nil && !r.ended {
		return content{}, &FileError{File: name, Line: r.line, Reason: "the last line has no end, as if the file were still being written"}
	}
	if got := digest.Sum(nil); want != nil && !bytes.Equal(got, want) {
		return content{}, &FileError{File: name, Reason: fmt.Sprintf("its SHA-256 is %x, expected %x as %s says", got, want, checksumFile(name))}
	}
	if r.bad > r.good {
		return content{}, &FileError{
			File: name, Line: r.firstBad[0].Line,
			Reason: fmt.Sprintf("%s; %d such lines and %d with an id, expected a file of ids", r.firstBad[0].Reason, r.bad, r.good),
		}
	}
	ids, err := r.ids.build(ctx, p)
	if err != nil {
		return content{}, err
	}
	return content{set: ids, size: r.size, verified: want != nil, bad: r.bad, firstBad: r.firstBad}, nil
}

func checksumFile(name string) string { return name + ".sha256" }

// readChecksum returns nil if there is no such file.
func readChecksum(name string) ([]byte, error) {
	file, err := open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	const enough = 4 << 10 // a checksum and a path
	text, err := io.ReadAll(io.LimitReader(file, enough))
	if err != nil {
		return nil, unreadable(name, err)
	}
	first, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte{' '})
	sum, err := hex.DecodeString(string(first))
	if err != nil || len(sum) != sha256.Size {
		return nil, &FileError{File: name, Line: 1, Reason: "expected a SHA-256 in 64 hexadecimal digits, as sha256sum prints it"}
	}
	return sum, nil
}

// open opens a regular file: others may never end, or never begin.
func open(name string) (*os.File, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, unreadable(name, err)
	case !info.Mode().IsRegular():
		return nil, &FileError{File: name, Reason: "is a " + kind(info.Mode()) + ", expected a regular file"}
	case info.Size() > maxSize:
		return nil, &FileError{File: name, Reason: fmt.Sprintf("has %d bytes, expected at most %d", info.Size(), int64(maxSize))}
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, unreadable(name, err)
	}
	return file, nil
}

func kind(mode fs.FileMode) string {
	if mode.IsDir() {
		return "directory"
	}
	return "special file"
}

func unreadable(name string, err error) *FileError {
	reason := err
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		reason = path.Err // its path is in the refusal
	}
	return &FileError{File: name, Reason: "can't be read: " + reason.Error(), cause: err}
}

// A reader reads lines.
type reader struct {
	name string
	in   *bufio.Reader
	ids  builder

	line, good, bad int
	firstBad        []BadLine
	size            int64
	ended           bool // the last line had an end
}

func (r *reader) readAll(ctx context.Context, p *pace) error {
	if mark, _ := r.in.Peek(len(byteOrderMark)); string(mark) == byteOrderMark {
		r.skip(len(mark))
	}
	for r.ended = true; ; {
		if r.line%breather == 0 {
			if err := p.rest(ctx); err != nil {
				return err
			}
		}
		switch err := r.readLine(); {
		case err == io.EOF: //nolint:errorlint // as bufio returns it
			return nil
		case err != nil:
			return unreadable(r.name, err)
		case r.size > maxSize:
			return &FileError{File: r.name, Line: r.line, Reason: fmt.Sprintf("has grown, expected at most %d bytes", int64(maxSize))}
		}
	}
}

const byteOrderMark = "\uFEFF"

func (r *reader) skip(n int) {
	n, _ = r.in.Discard(n) // has been seen
	r.size += int64(n)
}

// readLine takes one line, however long. Errors: io.EOF after the last one.
func (r *reader) readLine() error {
	line, err := r.in.ReadSlice('\n')
	if len(line) == 0 {
		return err
	}
	r.line++
	r.size += int64(len(line))
	if errors.Is(err, bufio.ErrBufferFull) {
		r.fault(tooLong)
		err = r.skipLine()
	} else {
		r.take(line)
	}
	r.ended = err == nil
	if err == io.EOF { //nolint:errorlint // as bufio returns it
		return nil // it comes again
	}
	return err
}

// skipLine drops the rest of a line.
func (r *reader) skipLine() error {
	for {
		part, err := r.in.ReadSlice('\n')
		r.size += int64(len(part))
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

func (r *reader) take(line []byte) {
	id, fault := parse(line)
	switch {
	case fault != "":
		r.fault(fault)
	case id != nil:
		r.good++
		r.ids.add(id)
	}
}

func (r *reader) fault(reason string) {
	r.bad++
	if len(r.firstBad) < reported {
		r.firstBad = append(r.firstBad, BadLine{Line: r.line, Reason: reason})
	}
}
