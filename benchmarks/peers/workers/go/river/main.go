// River: worker, creates and count. MaxWorkers 64, and the shortest polling that its documentation allows.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"ringtime/benchmarks/peers/jobs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

type worker struct{ river.WorkerDefaults[jobs.Job] }

func (worker) Work(_ context.Context, job *river.Job[jobs.Job]) error { return jobs.Post(job.Args) }

func main() {
	ctx := context.Background()
	config, err := pgxpool.ParseConfig(os.Getenv("PEER_DATABASE"))
	jobs.Must(err)
	config.MaxConns = 32
	pool, err := pgxpool.NewWithConfig(ctx, config)
	jobs.Must(err)
	driver := riverpgxv5.New(pool)
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	switch os.Args[1] {
	case "migrate":
		migrator, err := rivermigrate.New[pgx.Tx](driver, nil)
		jobs.Must(err)
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
		jobs.Must(err)
	case "count":
		var count int
		jobs.Must(pool.QueryRow(ctx, "SELECT count(*) FROM river_job WHERE finalized_at IS NULL").Scan(&count))
		fmt.Println(count)
	case "worker":
		workers := river.NewWorkers()
		river.AddWorker(workers, &worker{})
		config := &river.Config{
			Logger:            logger,
			Workers:           workers,
			Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 64}},
			FetchPollInterval: time.Millisecond, // the documented minimum; 1 s by default
			FetchCooldown:     time.Millisecond, // the documented minimum; 100 ms by default
		}
		if rescue, err := strconv.Atoi(os.Getenv("PEER_RESCUE_S")); err == nil {
			config.RescueStuckJobsAfter = time.Duration(rescue) * time.Second // 1 hour by default
			config.JobTimeout = 10 * time.Second                              // has to be shorter
		}
		client, err := river.NewClient(driver, config)
		jobs.Must(err)
		jobs.Must(client.Start(ctx))
		stop, cancel := signal.NotifyContext(ctx, syscall.SIGTERM)
		defer cancel()
		<-stop.Done()
		jobs.Must(client.Stop(ctx))
	case "load":
		client, err := river.NewClient(driver, &river.Config{Logger: logger})
		jobs.Must(err)
		jobs.Create(func(batch []jobs.Job) error {
			params := make([]river.InsertManyParams, len(batch))
			for n, job := range batch {
				params[n] = river.InsertManyParams{Args: job, InsertOpts: &river.InsertOpts{ScheduledAt: job.Due()}}
			}
			if len(params) == 1 {
				_, err := client.Insert(ctx, params[0].Args, params[0].InsertOpts)
				return err
			}
			_, err := client.InsertManyFast(ctx, params)
			return err
		})
	}
}
