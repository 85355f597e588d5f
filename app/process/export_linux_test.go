package process

import "context"

// Identify is what a PID file says about a process.
func Identify(pid int) (string, error) {
	id, err := identify(pid)
	return id.String(), err
}

// AwaitEnd waits until a process has ended.
func AwaitEnd(ctx context.Context, pid int) error {
	id, err := identify(pid)
	if err != nil {
		return err
	}
	g, err := hold(id)
	if err != nil {
		return err
	}
	defer g.release()
	return g.awaitEnd(ctx)
}

// ParseIdentity reads what a PID file says.
func ParseIdentity(text string) error {
	_, err := parseIdentity(text)
	return err
}
