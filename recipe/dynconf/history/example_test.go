package history_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/dynconf/history"
)

func Example() {
	ctx := context.Background()
	store := memory.New()
	defer store.Close()
	versions, err := history.New(store, "config", history.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}

	first, _ := versions.Publish(ctx, 0, []byte(`{"low":10}`), history.Change{Author: "alice", Comment: "to begin with"})
	second, _ := versions.Publish(ctx, first.Revision, []byte(`{"low":20}`), history.Change{Author: "bob", Comment: "twice as many"})

	// Whoever has not seen the second can't overwrite it.
	_, err = versions.Publish(ctx, first.Revision, []byte(`{"low":5}`), history.Change{Author: "alice"})
	fmt.Println(errors.Is(err, backend.ErrConflict))

	diff, _ := history.Diff(first, second)
	fmt.Print(diff)
	_, _ = versions.Rollback(ctx, first.Revision, second.Revision, history.Change{Author: "alice", Comment: "too many"})

	all, _, _ := versions.Versions(ctx)
	for _, v := range all {
		fmt.Printf("%s %s by %s: %s\n", v.Value, v.Hash, v.Author, v.Comment)
	}

	// Output:
	// true
	// --- version 2, by alice
	// +++ version 6, by bob
	// @@ -1,3 +1,3 @@
	//  {
	// -  "low": 10
	// +  "low": 20
	//  }
	// {"low":10} 9a887340bba4 by alice: to begin with
	// {"low":20} af60df15115e by bob: twice as many
	// {"low":10} 9a887340bba4 by alice: rollback to 2: too many
}
