package etcd

import "time"

// SetPulse makes a store's watches ask for progress and give up more often, for
// tests. It is called before the first watch.
func (s *Store) SetPulse(pulse, silence time.Duration) { s.pulse, s.silence = pulse, silence }
