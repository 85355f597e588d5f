package tasks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/recipe/tasks"
)

func Example() {
	store := memory.New()
	defer store.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var running sync.WaitGroup

	// One process assigns …
	console, err := tasks.NewConsole(store, tasks.ConsoleConfig{Dir: "jobs/"})
	if err != nil {
		fmt.Println(err)
		return
	}
	running.Go(func() { _ = console.Run(ctx) })

	// … others work.
	worker, err := tasks.NewWorker(store, tasks.WorkerConfig{
		Dir:      "jobs/",
		Name:     "api-1",
		Capacity: 4,
		Handler: func(ctx context.Context, job *tasks.Job) (json.RawMessage, error) {
			job.Report(tasks.Progress{Percent: 50, Text: "half way"})
			// A write that a worker which lost the task can't make:
			_, err := store.Put(ctx, "stock", []byte("0"), job.Guard())
			return json.RawMessage(`{"left":0}`), err
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	running.Go(func() { _ = worker.Run(ctx) })

	if err := console.Submit(ctx, "sell-out", json.RawMessage(`{"goods":"tea"}`)); err != nil {
		fmt.Println(err)
		return
	}
	task, err := console.Wait(ctx, "sell-out")
	fmt.Println(task.State, task.Attempt, string(task.Result), err)
	stop()
	running.Wait()

	// Output:
	// done 1 {"left":0} <nil>
}
