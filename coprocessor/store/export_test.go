package store

import "time"

// SetUseInterval makes uses known more exactly, for tests.
func (s *Ciphertexts) SetUseInterval(d time.Duration) { s.uses.every = d }
