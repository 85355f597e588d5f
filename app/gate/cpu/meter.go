package cpu

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
)

// A Meter measures from one reading to the next. It is safe for concurrent use.
type Meter struct {
	name   string
	levels []level

	mu   sync.Mutex
	at   time.Time
	used []time.Duration // by each level
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
	m := &Meter{name: name, levels: levels, used: make([]time.Duration, len(levels))}
	if _, err := m.Percent(); err != nil {
		return nil, err
	}
	return m, nil
}

// Name is of what is measured: "machine", or the kind and path of a cgroup.
func (m *Meter) Name() string { return m.name }

// Percent is how much of what may be used was used since the call before, or
// since Open. It is above 100 if a quota lets groups save up time.
func (m *Meter) Percent() (float64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	passed := now.Sub(m.at)
	most := 0.0
	for i, l := range m.levels {
		used, err := l.used()
		if err != nil {
			return 0, fmt.Errorf("processor time of %s: %w", m.name, err)
		}
		cores, err := l.cores()
		if err != nil {
			return 0, fmt.Errorf("quota of %s: %w", m.name, err)
		}
		if passed > 0 && cores > 0 {
			most = max(most, 100*float64(used-m.used[i])/(float64(passed)*cores))
		}
		m.used[i] = used
	}
	m.at = now
	return most, nil
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
