package cpu

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Mounts as they are found.
const (
	unified = "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
	hybrid  = "32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n" +
		"33 24 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
		"34 24 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n"
	together  = "33 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
	container = "33 24 0:29 /docker/1234 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
)

func files(own, mounts string, more map[string]string) fstest.MapFS {
	root := fstest.MapFS{"proc/self/cgroup": {Data: []byte(own)}, "proc/self/mountinfo": {Data: []byte("22 1 8:1 / / rw - ext4 /dev/sda rw\n" + mounts)}}
	for name, text := range more {
		root["sys/fs/cgroup/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

func v2(usec int) string { return fmt.Sprintf("usage_usec %d\nuser_usec 1\nsystem_usec 2\n", usec) }

// What is found in each of the ways that cgroups are set up, and what of it was
// used: in the second after the first reading the group uses 300ms, and so does
// each above it, with 100ms of others.
func TestGroups(t *testing.T) {
	here := float64(runtime.NumCPU())
	for what, c := range map[string]struct {
		own, mounts   string
		before, after map[string]string
		name          string
		percent       float64
	}{
		"v2": {
			own: "0::/system.slice/seckill.service\n", mounts: unified, name: "cgroup v2 /system.slice/seckill.service",
			before:  map[string]string{"system.slice/seckill.service/cpu.stat": v2(1000), "cpu.stat": v2(0)},
			after:   map[string]string{"system.slice/seckill.service/cpu.stat": v2(301000), "cpu.stat": v2(900000)},
			percent: 30 / here,
		},
		"v2, with a quota": {
			own: "0::/s\n", mounts: unified, name: "cgroup v2 /s",
			before:  map[string]string{"s/cpu.stat": v2(0), "s/cpu.max": "50000 100000\n"},
			after:   map[string]string{"s/cpu.stat": v2(300000)},
			percent: 60,
		},
		"v2, with a quota above": {
			own: "0::/a/b/c\n", mounts: unified, name: "cgroup v2 /a/b/c",
			before:  map[string]string{"a/b/c/cpu.stat": v2(0), "a/b/c/cpu.max": "max 100000\n", "a/b/cpu.stat": v2(0), "a/b/cpu.max": "max 100000\n", "a/cpu.stat": v2(0), "a/cpu.max": "50000 100000\n"},
			after:   map[string]string{"a/b/c/cpu.stat": v2(300000), "a/b/cpu.stat": v2(300000), "a/cpu.stat": v2(400000)},
			percent: 80,
		},
		"v2, a quota of more than there is": {
			own: "0::/s\n", mounts: unified, name: "cgroup v2 /s",
			before:  map[string]string{"s/cpu.stat": v2(0), "s/cpu.max": "100000000 100000\n"},
			after:   map[string]string{"s/cpu.stat": v2(300000)},
			percent: 30 / here,
		},
		"v2, in a container": {
			own: "0::/\n", mounts: unified, name: "cgroup v2 /",
			before:  map[string]string{"cpu.stat": v2(0), "cpu.max": "100000 200000\n"},
			after:   map[string]string{"cpu.stat": v2(300000)},
			percent: 60,
		},
		"v1": {
			own: "4:cpu,cpuacct:/s\n1:name=systemd:/x\n", mounts: together, name: "cgroup v1 /s",
			before:  map[string]string{"cpu,cpuacct/s/cpuacct.usage": "5\n", "cpu,cpuacct/s/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/s/cpu.cfs_period_us": "100000\n"},
			after:   map[string]string{"cpu,cpuacct/s/cpuacct.usage": "300000005\n"},
			percent: 30 / here,
		},
		"v1 beside v2": {
			own: "4:cpu:/s\n5:cpuacct:/s\n0::/\n", mounts: hybrid, name: "cgroup v1 /s",
			before:  map[string]string{"cpuacct/s/cpuacct.usage": "0\n", "cpu/s/cpu.cfs_quota_us": "50000\n", "cpu/s/cpu.cfs_period_us": "100000\n"},
			after:   map[string]string{"cpuacct/s/cpuacct.usage": "300000000\n"},
			percent: 60,
		},
		"v1, in a container": {
			own: "4:cpu,cpuacct:/docker/1234\n", mounts: container, name: "cgroup v1 /",
			before:  map[string]string{"cpu,cpuacct/cpuacct.usage": "0\n", "cpu,cpuacct/cpu.cfs_quota_us": "50000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
			after:   map[string]string{"cpu,cpuacct/cpuacct.usage": "300000000\n"},
			percent: 60,
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := files(c.own, c.mounts, c.before)
				name, levels := groups(root)
				assert.Equal(t, c.name, name)
				m, err := newMeter(name, levels)
				require.NoError(t, err)
				for name, text := range c.after {
					root["sys/fs/cgroup/"+name].Data = []byte(text)
				}
				time.Sleep(time.Second)
				percent, _, err := m.Percent()
				require.NoError(t, err)
				assert.InDelta(t, c.percent, percent, 1e-9)
				time.Sleep(time.Second)
				percent, _, err = m.Percent()
				require.NoError(t, err)
				assert.Zero(t, percent, "nothing since")
			})
		})
	}
}

// Where it is tightest is what counts, also of what this process uses: of a group that it
// fills it may have little, and others the rest.
func TestOthersUseTheGroupAbove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := files("0::/a/b\n", unified, map[string]string{
			"a/b/cpu.stat": v2(0), "a/b/cpu.max": "100000 100000\n", "a/cpu.stat": v2(0), "a/cpu.max": "3200000 100000\n",
		})
		name, levels := groups(root)
		levels[0] = group2{root, "sys/fs/cgroup/a/b"} // however many processors there are here
		m, err := newMeter(name, levels)
		require.NoError(t, err)
		m.self = func() (time.Duration, error) { return m.own + 600*time.Millisecond, nil }
		root["sys/fs/cgroup/a/b/cpu.stat"].Data = []byte(v2(600_000))
		root["sys/fs/cgroup/a/cpu.stat"].Data = []byte(v2(30_400_000))
		time.Sleep(time.Second)
		all, own, err := m.Percent()
		require.NoError(t, err)
		assert.InDelta(t, 95, all, 1e-9)
		assert.InDelta(t, 60.0/32, own, 1e-9)
		time.Sleep(time.Second)
		all, own, err = m.Percent()
		require.NoError(t, err)
		assert.Zero(t, all)
		assert.Greater(t, own, 0.0)
	})
}

func TestNoGroups(t *testing.T) {
	for what, root := range map[string]fstest.MapFS{
		"no proc":       {},
		"no mounts":     {"proc/self/cgroup": {Data: []byte("0::/\n")}},
		"not mounted":   files("0::/\n", "", nil),
		"nothing in it": files("0::/\n", unified, nil),
		"not a number":  files("0::/\n", unified, map[string]string{"cpu.stat": "usage_usec x\n"}),
		"not a usage":   files("0::/\n", unified, map[string]string{"cpu.stat": "nr_periods 0\n"}),
		"nonsense":      files("::::\n\n0", "1 2 3 - \n - - -\n", nil),
	} {
		_, levels := groups(root)
		assert.Empty(t, levels, what)
	}
}

func TestBadQuotas(t *testing.T) {
	for _, text := range []string{"", "x 1", "1 x", "1", "0 100000", "100000 0", "-1 5"} {
		root := files("0::/\n", unified, map[string]string{"cpu.stat": v2(0), "cpu.max": text})
		_, levels := groups(root)
		_, err := newMeter("it", levels)
		assert.ErrorContains(t, err, "quota of it", "%q", text)
	}
}

func FuzzGroups(f *testing.F) {
	f.Add("0::/a\n4:cpu,cpuacct:/s\n", unified+together, "usage_usec 5\n", "max 100000\n")
	f.Fuzz(func(t *testing.T, own, mounts, stat, quota string) {
		_, levels := groups(files(own, mounts, map[string]string{"cpu.stat": stat, "cpu.max": quota, "a/cpu.stat": stat, "a/cpu.max": quota}))
		for _, l := range levels {
			_, err := l.used()
			require.NoError(t, err)
		}
	})
}

// Here and now, whatever this is: what this process uses is a part of it, and it
// is no more than there is.
func TestThisMachine(t *testing.T) {
	found, err := Open()
	require.NoError(t, err)
	whole, err := newMeter("machine", []level{machine{}})
	require.NoError(t, err)
	for _, m := range []*Meter{found, whole} {
		cores, err := m.levels[0].cores()
		require.NoError(t, err)
		require.Greater(t, cores, 0.0)
		require.LessOrEqual(t, cores, float64(runtime.NumCPU()))
		_, _, err = m.Percent()
		require.NoError(t, err)
		began, before := time.Now(), ownTime(t)
		for ownTime(t)-before < 200*time.Millisecond {
		}
		used := ownTime(t) - before
		percent, own, err := m.Percent()
		require.NoError(t, err)
		took := time.Since(began)
		t.Logf("%s: %.1f%% of %v processors", m.Name(), percent, cores)
		// Counted in ticks of 10ms, on each processor.
		least := 100 * float64(used-100*time.Millisecond) / (float64(took) * cores)
		assert.GreaterOrEqual(t, percent, least)
		assert.GreaterOrEqual(t, own, least)
		assert.LessOrEqual(t, own, 100*float64(ownTime(t)-before+100*time.Millisecond)/(float64(took)*cores))
		assert.LessOrEqual(t, percent, 100*float64(runtime.NumCPU()))
	}
}

// ownTime is the processor time that this process has used.
func ownTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
