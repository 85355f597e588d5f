package election_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/election"
)

func Example() {
	store := memory.New()
	defer store.Close()
	ctx := context.Background()

	e, err := election.New(store, "elections/builder", election.Config{ID: "host-1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	term, err := e.Campaign(ctx, "10.0.0.1:8082")
	if err != nil {
		fmt.Println(err)
		return
	}
	for leader, err := range e.Observe(ctx) {
		fmt.Println(leader.ID, leader.Value, err)
		break
	}
	_, err = store.Put(ctx, "index", []byte("built"), term.Guard())
	fmt.Println("in its term:", err)

	fmt.Println("resigned:", term.Resign(ctx))
	_, err = store.Put(ctx, "index", []byte("built"), term.Guard())
	fmt.Println("afterwards:", errors.Is(err, backend.ErrConflict))

	// Output:
	// host-1 10.0.0.1:8082 <nil>
	// in its term: <nil>
	// resigned: <nil>
	// afterwards: true
}
