//go:build !unix

package identity

import "os"

// sameOwner has nothing to do where a directory says who owns its files.
func sameOwner(os.FileInfo, *os.File) error { return nil }
