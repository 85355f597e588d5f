package process_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/process"
)

// A kept connection asks by hand.
type kept struct {
	*testing.T
	net.Conn
	in *bufio.Reader
}

func keep(t *testing.T, at net.Addr) *kept {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", at.String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return &kept{t, conn, bufio.NewReader(conn)}
}

func (k *kept) say(text string) {
	k.Helper()
	_, err := io.WriteString(k.Conn, text)
	require.NoError(k, err)
}

// hear reads an answer and tells whether the connection ends with it.
func (k *kept) hear() (last bool) {
	k.Helper()
	resp, err := http.ReadResponse(k.in, nil)
	require.NoError(k, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(k, err)
	assert.Equal(k, "quick", string(body))
	return resp.Close
}

const quickly = "POST /quick HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"

func TestAProcessThatStopsAnswersWhoeverIsConnected(t *testing.T) {
	plan := process.Plan{DrainTimeout: 2 * time.Minute}.Patient(time.Minute)
	service, stop, _, answer, ended := start(t, plan)
	idle, half := keep(t, service.at), keep(t, service.at)
	for _, k := range []*kept{idle, half} {
		k.say(quickly)
		assert.False(t, k.hear())
	}
	half.say(quickly[:20])
	stop()
	require.Eventually(t, func() bool {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", service.at.String())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, time.Minute, time.Millisecond, "it accepts no more connections")

	idle.say(quickly)
	assert.True(t, idle.hear())
	half.say(quickly[20:])
	assert.True(t, half.hear())
	close(service.release)
	require.NoError(t, <-answer)
	require.NoError(t, <-ended)
}

func TestWhoeverHasNothingToAskIsNotWaitedFor(t *testing.T) {
	service, stop, _, answer, ended := start(t, process.Plan{DrainTimeout: time.Hour})
	silent := keep(t, service.at)
	silent.say(quickly)
	silent.hear()
	stop()
	_, err := silent.in.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	close(service.release)
	require.NoError(t, <-answer)
	require.NoError(t, <-ended)
}
