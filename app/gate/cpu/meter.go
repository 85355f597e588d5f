package cpu

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/process"
)

// A Meter measures from one reading to the next. It is safe for concurrent use.
type Meter struct {
	name   string
	levels []level
	self   func() (time.Duration, error) // the processor time that this process has used

	mu   sync.Mutex
	at   time.Time
	used []time.Duration // by each level
	own  time.Duration   // by this process
}

// A level is something that processors are shared out to.
type level interface {
	// used is the processor time used up to now.
	used() (time.Duration, error)
	// cores is how many processors it may use at once.
	cores() (float64, error)
}

// Open finds out what to measure, and begins to. Errors: nothing can be measured
// here.
func Open() (*Meter, error) {
	if name, levels := groups(os.DirFS("/")); len(levels) > 0 {
		if m, err := newMeter(name, levels); err == nil {
			return m, nil
		}
	}
	return newMeter("machine", []level{machine{}})
}

func newMeter(name string, levels []level) (*Meter, error) {
	me, err := process.NewProcess(int32(os.Getpid())) //nolint:gosec // as the package wants it
	if err != nil {
		return nil, err
	}
	m := &Meter{name: name, levels: levels, self: self{me}.used, used: make([]time.Duration, len(levels))}
	if _, _, err := m.Percent(); err != nil {
		return nil, err
	}
	return m, nil
}

// Name is of what is measured: "machine", or the kind and path of a cgroup.
func (m *Meter) Name() string { return m.name }

// Percent is how much of what may be used was used since the call before, or
// since Open: by all that share it, and of that by this process. It is above 100 if
// a quota lets groups save up time.
func (m *Meter) Percent() (all, own float64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	mine, err := m.self()
	if err != nil {
		return 0, 0, fmt.Errorf("processor time of this process: %w", err)
	}
	for i, l := range m.levels {
		used, err := l.used()
		if err != nil {
			return 0, 0, fmt.Errorf("processor time of %s: %w", m.name, err)
		}
		cores, err := l.cores()
		if err != nil {
			return 0, 0, fmt.Errorf("quota of %s: %w", m.name, err)
		}
		if most := float64(now.Sub(m.at)) * cores; most > 0 {
			// Where it is tightest is what counts, and what this process uses there.
			if percent := 100 * float64(used-m.used[i]) / most; percent >= all {
				all, own = percent, 100*float64(mine-m.own)/most
			}
		}
		m.used[i] = used
	}
	m.at, m.own = now, mine
	return all, own, nil
}

// self is this process.
type self struct{ *process.Process }

func (s self) used() (time.Duration, error) {
	t, err := s.Times()
	if err != nil {
		return 0, err
	}
	return time.Duration((t.User + t.System) * float64(time.Second)), nil
}

// machine is all of it.
type machine struct{}

func (machine) used() (time.Duration, error) {
	all, err := cpu.Times(false)
	if err != nil {
		return 0, err
	}
	if len(all) != 1 {
		return 0, fmt.Errorf("%d totals, expected one", len(all))
	}
	t := all[0]
	// What guests use is among user and nice.
	busy := t.User + t.System + t.Nice + t.Irq + t.Softirq + t.Steal
	return time.Duration(busy * float64(time.Second)), nil
}

func (machine) cores() (float64, error) { return float64(runtime.NumCPU()), nil }
