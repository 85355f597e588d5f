package follow

import "os"

// A Stamp is what some files are like, without what is in them.
type Stamp []os.FileInfo

// Look makes the stamp of files. One that can't be looked at is as one that is
// not there: whoever reads it will find out why.
func Look(files ...string) Stamp {
	s := make(Stamp, len(files))
	for i, file := range files {
		if info, err := os.Stat(file); err == nil {
			s[i] = info
		}
	}
	return s
}

// Same reports whether these are the same files, unchanged.
func (s Stamp) Same(other Stamp) bool {
	if len(s) != len(other) {
		return false
	}
	for i := range s {
		if !same(s[i], other[i]) {
			return false
		}
	}
	return true
}

func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
