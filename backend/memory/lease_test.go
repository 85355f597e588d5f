package memory

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// A timer that has fired still has to wait for the server. What is renewed
// meanwhile is renewed or is not, but it is not renewed and then ended.
func TestRenewalThatMeetsTheExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer()
		s.mu.Lock()
		late, early := s.grant(time.Second), s.grant(time.Minute)
		time.Sleep(time.Second) // the timer fires, its function waits
		assert.False(t, s.renew(late), "it was over")
		// As if its timer had fired just before it was renewed.
		fired := make(chan struct{})
		go func() { defer close(fired); s.expire(early) }()
		assert.True(t, s.renew(early))
		s.mu.Unlock()

		<-fired
		synctest.Wait()
		s.mu.Lock()
		assert.True(t, s.renew(early), "the timer of before ended it")
		s.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.False(t, s.ExpireLease(early), "it lasts for a TTL")
	})
}
