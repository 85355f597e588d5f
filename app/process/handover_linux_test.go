package process_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/process"
	"github.com/seed27495941/seckill/internal/stores"
)

// A crowd asks all the time, each on a connection that is kept or on a new one for
// each request.
type crowd struct {
	mu      sync.Mutex
	answers map[int]int // by pid
	failed  []error
	wait    func()
}

// gather lets a crowd begin; wait ends it.
func gather(b *bench, size int, pause time.Duration) *crowd {
	c := &crowd{answers: map[int]int{}}
	ctx, cancel := context.WithCancel(b.Context())
	var asking sync.WaitGroup
	for i := range size {
		asking.Go(func() {
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				pid, err := post(b.Context(), &client, "http://"+b.at) //nolint:contextcheck // what was asked is to be answered
				c.note(pid, err)
				time.Sleep(pause)
			}
		})
	}
	c.wait = sync.OnceFunc(func() {
		cancel()
		asking.Wait()
	})
	b.Cleanup(c.wait)
	return c
}

func (c *crowd) note(pid int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failed = append(c.failed, err)
		return
	}
	c.answers[pid]++
}

// answered is how many answers a process has given.
func (c *crowd) answered(pid int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers[pid]
}

func TestARequestIsNeverLost(t *testing.T) {
	const handOvers = 5
	b := newBench(t)
	first := b.first()
	before := time.Now()
	crowd := gather(b, 32, 20*time.Millisecond)
	pid := first.pid()
	seen := map[int]bool{pid: true}
	for range handOvers {
		b.await("the crowd is served", func() bool { return crowd.answered(pid) > 100 })
		pid = b.upgrade()
		seen[pid] = true
	}
	b.await("the crowd is served", func() bool { return crowd.answered(pid) > 100 })
	crowd.wait()
	assert.Empty(t, crowd.failed)
	assert.Len(t, seen, 1+handOvers)
	total := 0
	for pid, n := range crowd.answers {
		assert.True(t, seen[pid])
		total += n
	}
	t.Logf("%d answers, %.0f a second, %d hand-overs", total, float64(total)/time.Since(before).Seconds(), handOvers)
	b.requireEnd(first)
}

func TestASuccessorMayBeStartedByAnybody(t *testing.T) {
	b := newBench(t)
	first := b.first()
	second := b.start()
	b.awaitServing(second.pid())
	b.requireEnd(first)

	b.kill(second.pid(), syscall.SIGTERM)
	b.requireEnd(second)
	left, err := filepath.Glob(b.PIDFile + "*")
	require.NoError(t, err)
	assert.Empty(t, left, "the last one cleans up")
}

func TestASignalUpgrades(t *testing.T) {
	b := newBench(t)
	first := b.first()
	b.kill(first.pid(), syscall.SIGUSR2)
	b.requireEnd(first)
	b.await("another process is named", func() bool {
		require.NotZero(t, b.named(), "there is always a file")
		return b.named() != first.pid()
	})
	b.adopt(b.named())
	b.awaitServing(b.named())
}

// Whoever is named by the file can be sent the signal, whatever it is doing. It is
// obeyed, or the log says why not.
func TestASignalIsHeardByWhoIsNamed(t *testing.T) {
	t.Run("before it serves", func(t *testing.T) {
		b := newBench(t)
		b.Seated = filepath.Join(b.dir, "seated")
		first := b.start()
		b.await("the file names it", func() bool { return b.named() == first.pid() })
		b.kill(first.pid(), syscall.SIGUSR2)
		require.NoError(t, os.WriteFile(b.Seated, nil, 0o600))
		b.requireEnd(first)
		b.await("another process is named", func() bool { return b.named() != first.pid() })
		b.adopt(b.named())
		b.awaitServing(b.named())
	})
	for name, end := range map[string]func(b *bench, first *started){
		"while it stops":        func(b *bench, first *started) { b.kill(first.pid(), syscall.SIGTERM) },
		"after it was replaced": func(b *bench, _ *started) { b.upgrade() },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			first := b.first()
			slow, finish := b.dial(), filepath.Join(b.dir, "finish")
			slow.say(strings.Replace(request, "/", "/?await="+finish, 1))
			_, err := slow.in.Peek(1)
			require.NoError(t, err)
			end(b, first)
			b.await("it leaves", func() bool { return b.logged("stopping") })
			b.kill(first.pid(), syscall.SIGUSR2)
			require.NoError(t, os.WriteFile(finish, nil, 0o600))
			pid, _ := slow.hear()
			assert.Equal(t, first.pid(), pid)
			require.NoError(t, slow.Close())
			b.requireEnd(first)
			assert.True(t, b.logged("no upgrade"), "what is not obeyed is logged")
		})
	}
}

func TestASuccessorThatDoesNotGetReadyChangesNothing(t *testing.T) {
	for _, test := range []struct{ fault, reason string }{
		{dies, "the new process ended before it was ready, its log says why: exit status 3"},
		{hangs, "the new process was not ready within"},
		{falls, "the new process ended before it was ready, its log says why: exit status 3"},
	} {
		t.Run(test.fault, func(t *testing.T) {
			b := newBench(t)
			if test.fault == hangs {
				b.Ready = 500 * time.Millisecond
			}
			first := b.first()
			crowd := gather(b, 4, 20*time.Millisecond)
			_, err := process.Upgrade(t.Context(), b.PIDFile, b.script(test.fault))
			require.ErrorContains(t, err, test.reason)
			n := crowd.answered(first.pid())
			b.await("the first one goes on", func() bool { return crowd.answered(first.pid()) > n+50 })
			assert.Equal(t, first.pid(), b.named())
			crowd.wait()
			assert.Empty(t, crowd.failed)
			assert.Len(t, crowd.answers, 1)

			_, err = process.Upgrade(t.Context(), b.PIDFile, filepath.Join(b.dir, "missing"))
			require.ErrorContains(t, err, "no such file")
		})
	}
	t.Run("and then one does", func(t *testing.T) {
		b := newBench(t)
		first := b.first()
		_, err := process.Upgrade(t.Context(), b.PIDFile, b.script(dies))
		require.Error(t, err)
		b.upgrade()
		b.requireEnd(first)
	})
}

func TestAProcessKilledDuringTheHandOverIsReplaced(t *testing.T) {
	b := newBench(t)
	first := b.first()
	warm := filepath.Join(b.dir, "warm")
	second := b.start(faultEnv + "=" + warm)
	b.await("the second one has the listeners", func() bool { return b.logged("taking over") })
	b.kill(first.pid(), syscall.SIGKILL)
	<-first.ended

	// Whoever comes now waits in the socket's queue.
	crowd := gather(b, 4, 20*time.Millisecond)
	require.NoError(t, os.WriteFile(warm, nil, 0o600))
	b.awaitServing(second.pid())
	b.await("the crowd is served", func() bool { return crowd.answered(second.pid()) > 50 })
	crowd.wait()
	assert.Empty(t, crowd.failed)
}

func TestOnlyOneSuccessorAtATime(t *testing.T) {
	b := newBench(t)
	first := b.first()
	warm := filepath.Join(b.dir, "warm")
	second := b.start(faultEnv + "=" + warm)
	b.await("the second one has the listeners", func() bool { return b.logged("taking over") })
	third := b.start()
	<-third.ended
	require.Error(t, third.err)
	assert.True(t, b.logged(fmt.Sprintf("process %d is taking over already", second.pid())))

	require.NoError(t, os.WriteFile(warm, nil, 0o600))
	b.awaitServing(second.pid())
	b.requireEnd(first)
}

func TestOnlyOneUpgradeAtATime(t *testing.T) {
	b := newBench(t)
	first := b.first()
	warm := filepath.Join(b.dir, "warm")
	slow := b.script(warm)
	done := make(chan int)
	go func() {
		pid, err := process.Upgrade(t.Context(), b.PIDFile, slow)
		assert.NoError(t, err)
		done <- pid
	}()
	b.await("a successor gets ready", func() bool { return b.logged("taking over") })
	_, err := process.Upgrade(t.Context(), b.PIDFile, "")
	require.ErrorContains(t, err, "an upgrade is under way already")
	b.kill(first.pid(), syscall.SIGUSR2)
	b.await("the signal is refused", func() bool { return b.logged("no upgrade") })
	assert.Equal(t, first.pid(), b.ask())

	require.NoError(t, os.WriteFile(warm, nil, 0o600))
	pid := <-done
	b.adopt(pid)
	b.awaitServing(pid)
	b.requireEnd(first)
}

// A process that was let in, and then took so long that the other one goes on, ends.
func TestWhoWasGivenUpDoesNotServe(t *testing.T) {
	b := newBench(t)
	b.write(identify(t, os.Getpid()))
	door, err := net.Listen("unixpacket", b.PIDFile+".sock")
	require.NoError(t, err)
	defer door.Close()
	late := b.start()
	conn, err := door.Accept()
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	for _, step := range []struct{ hears, says string }{
		{"succeed", `{"version":1,"verb":"offer"}`},
		{"ready", `{"version":1,"verb":"proceed"}`},
		{"serving", `{"version":1,"verb":"refused","reason":"it took too long"}`},
	} {
		heard := make([]byte, 4096)
		n, err := conn.Read(heard)
		require.NoError(t, err)
		require.Contains(t, string(heard[:n]), step.hears)
		_, err = io.WriteString(conn, step.says)
		require.NoError(t, err)
	}
	b.await("it ends", late.hasEnded)
	require.Error(t, late.err)
	assert.True(t, b.logged(fmt.Sprintf("process %d does not hand over: it took too long", os.Getpid())))
	assert.Equal(t, os.Getpid(), b.named())
}

func (b *bench) logged(text string) bool {
	log, err := os.ReadFile(b.logFile())
	require.NoError(b, err)
	return strings.Contains(string(log), text)
}

// A raw connection is read and written by hand.
type raw struct {
	*bench
	net.Conn
	in *bufio.Reader
}

func (b *bench) dial() *raw {
	b.Helper()
	conn, err := new(net.Dialer).DialContext(b.Context(), "tcp", b.at)
	require.NoError(b, err)
	b.Cleanup(func() { _ = conn.Close() })
	require.NoError(b, conn.SetDeadline(time.Now().Add(patience)))
	return &raw{b, conn, bufio.NewReader(conn)}
}

func (r *raw) say(text string) {
	r.Helper()
	_, err := io.WriteString(r.Conn, text)
	require.NoError(r, err)
}

// hear reads an answer: who gave it, and whether the connection ends with it.
func (r *raw) hear() (pid int, last bool) {
	r.Helper()
	resp, err := http.ReadResponse(r.in, nil)
	require.NoError(r, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(r, err)
	pid, err = strconv.Atoi(strings.TrimSpace(string(body)))
	require.NoError(r, err)
	return pid, resp.Close
}

const request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nwho"

func TestRequestsUnderWaySurvive(t *testing.T) {
	b := newBench(t)
	first := b.first()
	idle, halfHeader, halfBody, slow := b.dial(), b.dial(), b.dial(), b.dial()
	idle.say(request)
	pid, last := idle.hear()
	assert.Equal(t, first.pid(), pid)
	assert.False(t, last)
	halfHeader.say(request)
	halfHeader.hear()
	halfHeader.say(request[:25])
	halfBody.say(request[:len(request)-1])
	finish := filepath.Join(b.dir, "finish")
	slow.say(strings.Replace(request, "/", "/?await="+finish, 1))

	b.upgrade()
	halfHeader.say(request[25:])
	halfBody.say(request[len(request)-1:])
	require.NoError(t, os.WriteFile(finish, nil, 0o600))
	for _, r := range []*raw{halfHeader, halfBody, slow} {
		pid, last = r.hear()
		assert.Equal(t, first.pid(), pid)
		assert.Equal(t, r == halfHeader, last, "others were answered already, or about to be")
	}

	select {
	case <-first.ended:
		t.Fatal("ended while connections are open")
	case <-time.After(50 * time.Millisecond):
	}
	idle.say(request)
	pid, last = idle.hear()
	assert.Equal(t, first.pid(), pid)
	assert.True(t, last)
	require.NoError(t, slow.Close())
	require.NoError(t, halfBody.Close())
	b.requireEnd(first)
}

func TestStreamsEndWhenTheirProcessDoes(t *testing.T) {
	b := newBench(t)
	first := b.first()
	stream := b.dial()
	stream.say("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
	_, err := stream.in.Peek(1)
	require.NoError(t, err)
	b.upgrade()
	pid, _ := stream.hear()
	assert.Equal(t, first.pid(), pid)
	require.NoError(t, stream.Close())
	b.requireEnd(first)
}

func TestASuccessorLearnsThatNobodyWaits(t *testing.T) {
	b := newBench(t)
	b.Ready = 300 * time.Millisecond
	first := b.first()
	second := b.start(faultEnv + "=" + hangs)
	<-second.ended
	require.Error(t, second.err)
	assert.True(t, b.logged(fmt.Sprintf("process %d does not hand over: it was not ready within 300ms", first.pid())))
	assert.Equal(t, first.pid(), b.ask())
}

func TestIdleConnectionsAreClosedAtTheDeadline(t *testing.T) {
	b := newBench(t)
	b.Drain = 100 * time.Millisecond
	first := b.first()
	idle := b.dial()
	idle.say(request)
	idle.hear()
	b.upgrade()
	_, err := idle.in.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	b.requireEnd(first)
}

// Who comes next takes its place in the cluster when the one before has gone: by then those
// before that have to be gone too.
func TestAProcessOutlivesTheOneBefore(t *testing.T) {
	b := newBench(t)
	first := b.first()
	idle := b.dial()
	idle.say(request)
	idle.hear()
	second := b.upgrade()
	b.upgrade()
	b.await("the second one is about to end", func() bool { return b.logged("waiting for the process before") })
	_, err := process.Identify(second)
	require.NoError(t, err, "it has ended before the first one")
	require.NoError(t, idle.Close())
	b.requireEnd(first)
	b.await("the second one ends", func() bool {
		_, err := process.Identify(second)
		return err != nil
	})
}

func TestListenersComeAndGo(t *testing.T) {
	b := newBench(t)
	gone, kept, added := stores.FreeAddress(t), b.at, stores.FreeAddress(t)
	b.Listen = map[string]string{"web": kept, "moved": gone}
	first := b.first()
	b.Listen = map[string]string{"web": kept, "moved": added, "new": stores.FreeAddress(t)}
	second := b.start()
	b.awaitServing(second.pid())
	b.requireEnd(first)
	for _, at := range b.Listen {
		pid, err := post(t.Context(), &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://"+at)
		require.NoError(t, err)
		assert.Equal(t, second.pid(), pid)
	}
	_, err := new(net.Dialer).DialContext(t.Context(), "tcp", gone)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// stranger starts a process that has nothing to do with anything.
func (b *bench) stranger() int {
	b.Helper()
	cmd := exec.Command("sleep", "600")
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_, err := process.Identify(cmd.Process.Pid)
		require.NoError(b, err, "the stranger was touched") // a signal that it does not know would have ended it
		_ = cmd.Process.Kill()                              // it may have ended
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

func (b *bench) write(text string) {
	b.Helper()
	require.NoError(b, os.WriteFile(b.PIDFile, []byte(text), 0o644))
}

func identify(t *testing.T, pid int) string {
	t.Helper()
	id, err := process.Identify(pid)
	require.NoError(t, err)
	return id
}

func TestAStrangerWithTheSamePIDIsLeftAlone(t *testing.T) {
	b := newBench(t)
	stranger := b.stranger()
	lines := strings.SplitAfter(identify(t, os.Getpid()), "\n")
	b.write(fmt.Sprintf("%d\n%s", stranger, lines[1]))
	_, err := process.Upgrade(t.Context(), b.PIDFile, "")
	require.ErrorContains(t, err, fmt.Sprintf("process %d is another one: there is no such process any more", stranger))
	b.first()
}

func TestAThreadWithTheSamePIDIsNoProcess(t *testing.T) {
	b := newBench(t)
	threads, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	for _, thread := range threads {
		if thread.Name() == strconv.Itoa(os.Getpid()) {
			continue
		}
		b.write(thread.Name() + "\nstart=1 boot=b\n")
		_, err := process.Upgrade(t.Context(), b.PIDFile, "")
		require.ErrorContains(t, err, "there is no such process any more")
	}
	b.first()
}

func TestAnotherProcessAtTheSocketIsNotBelieved(t *testing.T) {
	b := newBench(t)
	stranger := b.stranger()
	b.write(identify(t, stranger))
	_, err := process.Upgrade(t.Context(), b.PIDFile, "")
	require.ErrorContains(t, err, "can't be asked")

	door, err := net.Listen("unixpacket", b.PIDFile+".sock")
	require.NoError(t, err)
	defer door.Close()
	_, err = process.Upgrade(t.Context(), b.PIDFile, "")
	require.ErrorContains(t, err, fmt.Sprintf("is the socket of process %d, expected %d", os.Getpid(), stranger))
	s := b.start()
	<-s.ended
	require.Error(t, s.err)
	assert.True(t, b.logged("but does not hand over"))
	assert.Equal(t, stranger, b.named())
}

func TestWhoeverIsNotUnderstoodIsRefused(t *testing.T) {
	b := newBench(t)
	first := b.first()
	for question, reason := range map[string]string{
		`{"version":2,"verb":"succeed"}`:                     "speaks version 2",
		`{"version":1,"verb":"succeed","pid":1}`:             "says that it is process 1",
		`{"version":1,"verb":"ready"}`:                       "expected the message",
		`nonsense`:                                           "invalid character",
		`{"version":1,"verb":"` + strings.Repeat("x", 20000): "too long",
	} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "unixpacket", b.PIDFile+".sock")
		require.NoError(t, err)
		_, err = io.WriteString(conn, question)
		require.NoError(t, err)
		answer := make([]byte, 4096)
		n, err := conn.Read(answer)
		require.NoError(t, err)
		assert.Contains(t, string(answer[:n]), `"verb":"refused"`)
		assert.Contains(t, string(answer[:n]), reason)
		require.NoError(t, conn.Close())
	}
	assert.Equal(t, first.pid(), b.ask())
}

func TestPIDFiles(t *testing.T) {
	b := newBench(t)
	for _, text := range []string{"", "12\n", "x\nstart=1 boot=2\n", "-1\nstart=1 boot=b\n", "12\nstart=1 boot=b\nmore", strings.Repeat("1", 1000)} {
		b.write(text)
		_, err := process.Upgrade(t.Context(), b.PIDFile, "")
		require.ErrorContains(t, err, "expected a pid", "%q", text)
	}
	require.NoError(t, os.Remove(b.PIDFile))
	_, err := process.Upgrade(t.Context(), b.PIDFile, "")
	require.ErrorContains(t, err, "nothing to upgrade: there is no PID file")

	first := b.first()
	info, err := os.Stat(b.PIDFile)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o644), info.Mode())
	info, err = os.Stat(b.PIDFile + ".sock")
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	// One that was killed leaves its file behind.
	b.kill(first.pid(), syscall.SIGKILL)
	<-first.ended
	second := b.first()

	// A file that is somebody else's by now is not taken away.
	other := identify(t, os.Getpid())
	b.write(other)
	b.kill(second.pid(), syscall.SIGTERM)
	b.requireEnd(second)
	text, err := os.ReadFile(b.PIDFile)
	require.NoError(t, err)
	assert.Equal(t, other, string(text))

	_, err = process.TakeSeat(t.Context(), process.SeatConfig{PIDFile: "/" + strings.Repeat("x", 100)})
	require.ErrorContains(t, err, "its path is too long")
}

// A manager is systemd's end of sd_notify.
func TestTheServiceManagerIsTold(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(b.dir, "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer manager.Close()
	require.NoError(t, manager.SetReadDeadline(time.Now().Add(patience)))
	next := func() string {
		packet, rights := make([]byte, 1024), make([]byte, 1024)
		n, rn, _, _, err := manager.ReadMsgUnix(packet, rights)
		require.NoError(t, err)
		controls, err := syscall.ParseSocketControlMessage(rights[:rn])
		require.NoError(t, err)
		for _, c := range controls {
			fds, err := syscall.ParseUnixRights(&c)
			require.NoError(t, err)
			for _, fd := range fds {
				require.NoError(t, syscall.Close(fd))
			}
		}
		return string(packet[:n])
	}
	first := b.start("NOTIFY_SOCKET=" + path)
	assert.Equal(t, "READY=1", next())
	b.awaitServing(first.pid())

	_, err = process.Upgrade(t.Context(), b.PIDFile, b.script(dies))
	require.Error(t, err)
	assert.Regexp(t, `^RELOADING=1\nMONOTONIC_USEC=\d+$`, next())
	assert.Equal(t, "READY=1", next())

	result := make(chan int)
	go func() {
		pid, err := process.Upgrade(t.Context(), b.PIDFile, "")
		assert.NoError(t, err)
		result <- pid
	}()
	assert.Contains(t, next(), "RELOADING=1")
	told := next()
	select {
	case <-result:
		t.Fatal("done before the manager knew")
	case <-first.ended:
		t.Fatal("ended before the manager knew")
	case <-time.After(50 * time.Millisecond):
	}
	assert.Equal(t, "BARRIER=1", next())
	pid := <-result
	b.adopt(pid)
	assert.Equal(t, fmt.Sprintf("MAINPID=%d\nREADY=1", pid), told)
	b.requireEnd(first)

	b.awaitServing(pid)
	b.kill(pid, syscall.SIGTERM)
	assert.Equal(t, "STOPPING=1", next())
}
