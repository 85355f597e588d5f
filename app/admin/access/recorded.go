package access

import (
	"context"
	"fmt"
	"time"

	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/gate/limit"
)

// Actions, as the audit log has them. Their target is a user.
const (
	loginAction    = "session.begin"
	logoutAction   = "session.end"
	passwordAction = "user.password"
)

// stranger is who the audit log names as the actor of what was refused: whoever it was,
// it need not be the user whose name was given. No user has this name.
const stranger = "(stranger)"

// recorded does something that a user may, and writes it into the audit log. What can't
// be recorded is not done.
func (a *Access) recorded(ctx context.Context, name, user string, do func(context.Context) error) error {
	if a.audit == nil {
		return do(ctx)
	}
	return a.audit.Do(ctx, action(ctx, name, user, user), nil, func(ctx context.Context) (any, error) { return nil, do(ctx) })
}

// recordLogout writes that a session has ended. It has, whether that is recorded or not:
// whoever wants to go is not kept.
func (a *Access) recordLogout(ctx context.Context, by caller) {
	if a.audit == nil || by.principal == nil {
		return
	}
	user := by.principal.Name
	if err := a.audit.Note(ctx, action(ctx, logoutAction, user, user), nil); err != nil {
		a.log.Warn("a logout was not recorded", "user", user, "error", err)
	}
}

// recordRefusal writes that somebody was not let in, unless that would be too much to
// keep. It has the name only of users that there are: people type passwords there.
func (a *Access) recordRefusal(ctx context.Context, name, typed, why string) {
	if a.audit == nil || !a.records.mayRecord(callerOf(ctx).client, typed) {
		return
	}
	target := ""
	if _, _, err := readUser(ctx, a.copy.get, typed); err == nil {
		target = typed
	}
	if err := a.audit.Note(ctx, action(ctx, name, stranger, target), fmt.Errorf("%w: %s", audit.ErrRefused, why)); err != nil {
		a.log.Warn("a refused login was not recorded", "error", err)
	}
}

func action(ctx context.Context, name, actor, target string) audit.Action {
	via, id := Came(ctx)
	return audit.Action{Name: name, Target: target, Actor: actor, Via: via, Remote: callerOf(ctx).client.address, RequestID: id}
}

// records bounds how many refused logins the audit log gets from this process: the oldest
// records make room for new ones, and a flood is not to wash the others out.
type records struct {
	attempts *limit.Users // by name and address
	all      *limit.Bucket
}

func newRecords() (r records, err error) {
	if r.attempts, err = limit.NewUsers(limit.Limit{Tokens: 1, Per: time.Minute, Burst: 1}, room); err != nil {
		return r, err
	}
	r.all, err = limit.NewBucket(limit.Limit{Tokens: 10, Per: time.Minute, Burst: 60})
	return r, err
}

// mayRecord goes by the name as it was typed, so that it takes as long for users that
// there are as for others.
func (r records) mayRecord(c client, typed string) bool {
	if ok, _ := r.attempts.Allow(c.address + " " + typed); !ok {
		return false
	}
	ok, _ := r.all.Allow()
	return ok
}
