// Package jobs is what the Go programs share: which jobs to create, and what doing one means.
package jobs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Job is one request to POST to the receiver at its due time.
type Job struct {
	ID    int64  `json:"id"`
	DueMs int64  `json:"due"`
	Data  string `json:"data"`
}

// Kind is the name that River keeps with a job.
func (Job) Kind() string { return "post" }

// Due is when the job is to be done.
func (job Job) Due() time.Time { return time.UnixMilli(job.DueMs) }

// Load is the order to create jobs, as the Python side writes it.
type Load struct {
	First        int64 `json:"first"`
	Count        int64 `json:"count"`
	DueMs        int64 `json:"due_ms"`
	SpreadMs     int64 `json:"spread_ms"`
	PerS         int64 `json:"per_s"`
	LeadMs       int64 `json:"lead_ms"`
	LeadSpreadMs int64 `json:"lead_spread_ms"`
	LimitS       int64 `json:"limit_s"`
	AtOnce       int64 `json:"at_once"`
	Batch        int64 `json:"batch"`
}

var (
	data   = strings.Repeat("x", 150)
	target = os.Getenv("PEER_RECEIVER")
	client = &http.Client{
		Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256},
		Timeout:   10 * time.Second,
	}
)

// Post does one job.
func Post(job Job) error {
	body, err := json.Marshal(job)
	if err != nil {
		return err
	}
	url := fmt.Sprintf("%s/%d/%d", target, job.ID, job.DueMs)
	response, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

// Must ends the program on an error.
func Must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Create makes the jobs that os.Args[2] orders and prints how many it made.
func Create(create func([]Job) error) {
	var load Load
	Must(json.Unmarshal([]byte(os.Args[2]), &load))
	if load.PerS > 0 {
		paced(load, create)
		fmt.Println(load.Count)
		return
	}
	var next, made atomic.Int64
	var all sync.WaitGroup
	until := time.Now().Add(time.Duration(load.LimitS) * time.Second)
	for range load.AtOnce {
		all.Go(func() {
			for time.Now().Before(until) {
				end := next.Add(load.Batch)
				begin := end - load.Batch
				if begin >= load.Count {
					return
				}
				end = min(end, load.Count)
				batch := make([]Job, 0, end-begin)
				for number := begin; number < end; number++ {
					due := load.DueMs + number*load.SpreadMs/load.Count
					batch = append(batch, Job{load.First + number, due, data})
				}
				Must(create(batch))
				made.Add(end - begin)
			}
		})
	}
	all.Wait()
	fmt.Println(made.Load())
}

// paced creates one by one by the clock, however long each takes.
func paced(load Load, create func([]Job) error) {
	var all sync.WaitGroup
	began := time.Now()
	for number := range load.Count {
		time.Sleep(time.Until(began.Add(time.Duration(number) * time.Second / time.Duration(load.PerS))))
		due := time.Now().UnixMilli() + load.LeadMs + number*7919%load.LeadSpreadMs
		all.Go(func() { Must(create([]Job{{load.First + number, due, data}})) })
	}
	all.Wait()
}
