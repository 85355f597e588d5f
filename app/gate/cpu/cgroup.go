package cpu

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// groups finds the cgroup of this process and, after it, those above that have
// quotas. There are none where there are no cgroups.
func groups(root fs.FS) (name string, levels []level) {
	own, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return "", nil
	}
	mounts, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return "", nil
	}
	if at, ok := find(own, mounts, "cpuacct"); ok {
		name, levels = "cgroup v1 "+at.group, at.levels(func(dir string) level {
			// The controllers may be mounted in one place or in two; a group has one path.
			quota, _ := find(own, mounts, "cpu")
			return group1{root, dir, path.Join(quota.mount, strings.TrimPrefix(dir, at.mount))}
		})
	} else if at, ok := find(own, mounts, ""); ok {
		name, levels = "cgroup v2 "+at.group, at.levels(func(dir string) level { return group2{root, dir} })
	}
	return name, slices.DeleteFunc(levels, func(l level) bool { _, err := l.used(); return err != nil })
}

// A place is where a group is: mount is a file system's, as group's path is seen
// below it.
type place struct{ mount, group string }

// find finds the group of a v1 controller, of v2 if it is "". Lines of
// proc/self/cgroup are as "4:cpu,cpuacct:/path", of v2 "0::/path".
func find(own, mounts []byte, controller string) (place, bool) {
	for line := range bytes.Lines(own) {
		fields := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 3)
		if len(fields) == 3 && slices.Contains(strings.Split(fields[1], ","), controller) {
			return mounted(mounts, controller, fields[2])
		}
	}
	return place{}, false
}

// mounted finds where a group's file system is. Lines of proc/self/mountinfo are
// as "36 35 0:26 /root /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct".
func mounted(mounts []byte, controller, group string) (place, bool) {
	for line := range bytes.Lines(mounts) {
		head, tail, _ := strings.Cut(string(line), " - ")
		mount, system := strings.Fields(head), strings.Fields(tail)
		if len(mount) < 5 || len(system) < 3 {
			continue
		}
		switch {
		case controller == "" && system[0] == "cgroup2":
		case controller != "" && system[0] == "cgroup" && slices.Contains(strings.Split(system[2], ","), controller):
		default:
			continue
		}
		return place{mount: strings.TrimPrefix(mount[4], "/"), group: below(mount[3], group)}, true
	}
	return place{}, false
}

// below is a group's path below the one that is mounted. In a container that is
// often the group itself, or the path is one that can't be seen from inside.
func below(root, group string) string {
	if root == "/" {
		return path.Clean(group)
	}
	if rest, ok := strings.CutPrefix(group+"/", root+"/"); ok {
		return path.Clean("/" + rest)
	}
	return "/"
}

// levels are the group's own and those above it that have quotas.
func (p place) levels(open func(dir string) level) []level {
	all := []level{limited{open(path.Join(p.mount, p.group))}}
	for group := p.group; group != "/" && group != "."; {
		group = path.Dir(group)
		above := open(path.Join(p.mount, group))
		if cores, err := above.cores(); err == nil && cores > 0 {
			all = append(all, above)
		}
	}
	return all
}

// limited is a level that also has no more processors than the process has.
type limited struct{ level }

func (l limited) cores() (float64, error) {
	here := float64(runtime.NumCPU())
	cores, err := l.level.cores()
	if err != nil || cores == 0 {
		return here, err
	}
	return min(cores, here), nil
}

// A group2 is a directory of cgroup v2.
type group2 struct {
	root fs.FS
	dir  string
}

func (g group2) used() (time.Duration, error) {
	text, err := fs.ReadFile(g.root, path.Join(g.dir, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "usage_usec "); ok {
			n, err := strconv.ParseInt(value, 10, 64)
			return time.Duration(n) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("no usage_usec in %s", path.Join(g.dir, "cpu.stat"))
}

// cores is 0 if there is no quota. cpu.max is as "150000 100000", or "max 100000".
func (g group2) cores() (float64, error) {
	text, err := fs.ReadFile(g.root, path.Join(g.dir, "cpu.max"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	quota, period, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	if quota == "max" {
		return 0, nil
	}
	return ratio(quota, period)
}

// A group1 is a pair of directories of cgroup v1.
type group1 struct {
	root        fs.FS
	acct, quota string
}

func (g group1) used() (time.Duration, error) {
	text, err := g.read(g.acct, "cpuacct.usage")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return time.Duration(n), err
}

// cores is 0 if there is no quota: it is -1 then, or there is no such file.
func (g group1) cores() (float64, error) {
	quota, err := g.read(g.quota, "cpu.cfs_quota_us")
	if errors.Is(err, fs.ErrNotExist) || err == nil && strings.HasPrefix(quota, "-") {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	period, err := g.read(g.quota, "cpu.cfs_period_us")
	if err != nil {
		return 0, err
	}
	return ratio(quota, period)
}

func (g group1) read(dir, file string) (string, error) {
	text, err := fs.ReadFile(g.root, path.Join(dir, file))
	return strings.TrimSpace(string(text)), err
}

func ratio(quota, period string) (float64, error) {
	q, err := strconv.ParseFloat(quota, 64)
	if err != nil {
		return 0, err
	}
	p, err := strconv.ParseFloat(period, 64)
	if err != nil {
		return 0, err
	}
	if q <= 0 || p <= 0 {
		return 0, fmt.Errorf("quota %s in %s", quota, period)
	}
	return q / p, nil
}
