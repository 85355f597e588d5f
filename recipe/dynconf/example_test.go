package dynconf_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/dynconf"
)

func Example() {
	type rates struct {
		Low    int `json:"low"`
		Middle int `json:"middle"`
	}
	store := memory.New()
	defer store.Close()

	conf, err := dynconf.New(store, "config", dynconf.Options[rates]{
		Defaults: rates{Low: 10, Middle: 100},
		Validate: func(r rates) error {
			if r.Low > r.Middle {
				return errors.New("low: expected at most middle")
			}
			return nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	changed := make(chan rates)
	conf.Subscribe(func(_, now rates) { changed <- now })

	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = conf.Run(ctx) })
	<-conf.Synced()
	fmt.Println(conf.Load(), conf.Status().Source)

	// Anybody may write the key, with the store's own tools too.
	_, err = store.Put(ctx, "config", []byte(`{"low":1000,"middle":20000}`))
	fmt.Println(<-changed, conf.Status().Source, err)

	stop()
	running.Wait()

	// Output:
	// {10 100} defaults
	// {1000 20000} store <nil>
}
