package metrics

// Kept is how many leases the store remembers.
func (s *Store) Kept() int {
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	return cap(s.leases.held)
}
