// Package follow tells a process when a file that somebody else writes has
// changed and is complete. Which of three ways it goes is chosen for each file:
//
//   - [Events]: the kernel tells of changes (inotify and its like). What is
//     watched is the file's directory, so files that are renamed into place,
//     symbolic links that are exchanged (as Kubernetes does with a volume's
//     ..data) and files that come back after they were deleted are all seen.
//     Should events get lost, or not come at all, the file is looked at every
//     Interval too.
//   - [Timer]: the file is looked at every Interval. For file systems whose
//     changes are made on another machine: NFS, SMB, FUSE.
//   - [Push]: nobody looks. Whoever has changed the file says so.
//
// # Complete
//
// A change is told when the file, and those beside it, have been as they are for
// the settle time: the same file of the same size and time of modification. So a
// burst of changes is told once, and a file that is being written is left alone
// for as long as its writer does not pause for longer than that. Whoever needs to
// be certain writes elsewhere and renames into place, or provides a checksum.
//
// # What it does not see
//
// A symbolic link further up in the path that is exchanged, and a link's target
// in another directory that is rewritten, make no events in the file's own
// directory: they are found at the next Interval. A file rewritten in place with
// as many bytes and with its old time of modification put back is not seen at
// all. An NFS client may keep what it knows of a file for a minute (acregmax).
package follow
