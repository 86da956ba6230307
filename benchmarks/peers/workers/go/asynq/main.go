// asynq: worker, creates and count. Concurrency 64, both polling intervals 1 ms; it creates one by one only.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"ringtime/benchmarks/peers/jobs"

	"github.com/hibiken/asynq"
)

func main() {
	redis := asynq.RedisClientOpt{Addr: os.Getenv("PEER_DATABASE"), PoolSize: 64}
	switch os.Args[1] {
	case "count":
		inspector := asynq.NewInspector(redis)
		queue, err := inspector.GetQueueInfo("default")
		jobs.Must(err)
		fmt.Println(queue.Size) // done tasks are deleted
	case "worker":
		server := asynq.NewServer(redis, asynq.Config{
			Concurrency:              64,
			LogLevel:                 asynq.WarnLevel,
			DelayedTaskCheckInterval: time.Millisecond, // 5 s by default
			TaskCheckInterval:        time.Millisecond, // 1 s by default
		})
		mux := asynq.NewServeMux()
		mux.HandleFunc("post", func(_ context.Context, task *asynq.Task) error {
			var job jobs.Job
			if err := json.Unmarshal(task.Payload(), &job); err != nil {
				return err
			}
			return jobs.Post(job)
		})
		jobs.Must(server.Run(mux))
	case "load":
		client := asynq.NewClient(redis)
		jobs.Create(func(batch []jobs.Job) error {
			for _, job := range batch {
				payload, err := json.Marshal(job)
				if err != nil {
					return err
				}
				if _, err := client.Enqueue(asynq.NewTask("post", payload), asynq.ProcessAt(job.Due())); err != nil {
					return err
				}
			}
			return nil
		})
	}
}
