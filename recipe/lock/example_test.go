package lock_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/lock"
)

// What counts is the guard on the write: a holder that was paused for too long
// finds its write refused, whatever it believes.
func Example() {
	store := memory.New()
	defer store.Close()
	ctx := context.Background()

	l, err := lock.New(store, "locks/report", lock.Config{Holder: "host-1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	held, err := l.Acquire(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = store.Put(ctx, "report", []byte("first draft"), held.Guard())
	fmt.Println("as holder:", err)

	_, err = l.TryAcquire(ctx)
	fmt.Println("locked:", errors.Is(err, lock.ErrLocked))

	fmt.Println("released:", held.Release(ctx))
	_, err = store.Put(ctx, "report", []byte("second draft"), held.Guard())
	fmt.Println("afterwards:", errors.Is(err, backend.ErrConflict))

	// Output:
	// as holder: <nil>
	// locked: true
	// released: <nil>
	// afterwards: true
}
