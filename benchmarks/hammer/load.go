package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand"
	"net/url"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// plan is what a run of load is told.
type plan struct {
	address, root, do                 string
	connections, most, items, payload int
	seconds, rate                     float64
	app, path, callback, topic        string
	apps, partitions                  int
	dueFrom, dueTo, dueAt, spread     float64
	isWhole                           bool
	idsFrom, idsTo                    string
	ids                               []string
	began                             time.Time
}

// outcome is what a run of load prints.
type outcome struct {
	Requests int     `json:"requests"`
	Done     int     `json:"done"`    // items that succeeded: of a request with one, the request
	Failed   int     `json:"failed"`  // answered, and not done
	Broken   int     `json:"broken"`  // no answer
	Seconds  float64 `json:"seconds"` // from the first request to the last answer
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	Max      float64 `json:"max_ms"`
	CPU      float64 `json:"cpu_s"` // of this process
	Failure  string  `json:"failure"`
}

func runLoad(args []string) {
	p, base := plan{}, ""
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	flags.StringVar(&base, "base", "", "URL of the API")
	flags.StringVar(&p.do, "do", "create", "create, batch, get, cancel, path or apps")
	flags.IntVar(&p.connections, "c", 64, "connections")
	flags.IntVar(&p.most, "n", 0, "requests at most; 0: until the time is up")
	flags.Float64Var(&p.seconds, "seconds", 10, "time at most, to begin a request")
	flags.Float64Var(&p.rate, "rate", 0, "requests a second, each at its moment and timed from it; 0: one after another")
	flags.IntVar(&p.items, "items", 10, "schedules of a batch")
	flags.IntVar(&p.payload, "payload", 200, "bytes of a payload")
	flags.StringVar(&p.app, "app", "bench", "")
	flags.IntVar(&p.apps, "apps", 1, "more than one: -0, -1, ... behind -app, in turn")
	flags.IntVar(&p.partitions, "partitions", 1, "of apps to register")
	flags.StringVar(&p.path, "path", "", "what to get, below the base")
	flags.StringVar(&p.callback, "callback", "http://127.0.0.1:9/", "URL to call back")
	flags.StringVar(&p.topic, "topic", "", "Kafka topic to call back into, instead")
	flags.Float64Var(&p.dueFrom, "due-from", 600, "seconds from now to the fire time, at least")
	flags.Float64Var(&p.dueTo, "due-to", 3600, "and at most")
	flags.Float64Var(&p.dueAt, "due-at", 0, "the fire time instead, in seconds since 1970")
	flags.Float64Var(&p.spread, "spread", 0, "seconds after it over which -n are spread evenly")
	flags.BoolVar(&p.isWhole, "whole", false, "fire times are whole seconds")
	flags.StringVar(&p.idsFrom, "ids", "", "file of ids to get or cancel, one a line, up to a comma")
	flags.StringVar(&p.idsTo, "write-ids", "", "file for what was created: id, fire time, time of the answer, in ms")
	flags.Parse(args)
	where, err := url.Parse(base)
	if err != nil || where.Scheme != "http" || where.Host == "" {
		fail("-base must be like http://127.0.0.1:8080/goscheduler")
	}
	p.address, p.root = where.Host, strings.TrimRight(where.Path, "/")
	if p.do == "get" || p.do == "cancel" {
		p.readIds()
	}
	if p.most <= 0 && p.seconds <= 0 || p.connections < 1 || p.items < 1 || p.apps < 1 {
		fail("-n or -seconds must bound the run; -c, -items and -apps are 1 or more")
	}
	found, acked := p.run()
	found.CPU = cpuSeconds()
	if p.idsTo != "" {
		writeLines(p.idsTo, acked)
	}
	line, _ := json.Marshal(found)
	fmt.Println(string(line))
}

func (p *plan) readIds() {
	text, err := os.ReadFile(p.idsFrom)
	if err != nil {
		fail(err)
	}
	for _, line := range strings.Fields(string(text)) {
		id, _, _ := strings.Cut(line, ",")
		p.ids = append(p.ids, id)
	}
	if len(p.ids) == 0 {
		fail("no ids in " + p.idsFrom)
	}
	rand.Shuffle(len(p.ids), func(i, j int) { p.ids[i], p.ids[j] = p.ids[j], p.ids[i] })
	if p.do == "cancel" && (p.most == 0 || p.most > len(p.ids)) {
		p.most = len(p.ids)
	}
}

// run makes the load. A request of an open loop that finds no connection free waits for one, and its latency
// counts from when it was due, so that a slow server is not asked less kindly than it was meant to be.
func (p *plan) run() (outcome, []string) {
	var next atomic.Int64
	var group sync.WaitGroup
	workers := make([]worker, p.connections)
	p.began = time.Now()
	until := p.began.Add(time.Duration(p.seconds * float64(time.Second)))
	for n := range workers {
		w := &workers[n]
		w.plan, w.wire = p, wire{address: p.address}
		w.rng = rand.New(rand.NewSource(time.Now().UnixNano() + int64(n)))
		w.makeTemplates()
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				k := int(next.Add(1)) - 1
				if p.most > 0 && k >= p.most {
					return
				}
				due := time.Now()
				if p.rate > 0 {
					due = p.began.Add(time.Duration(float64(k) / p.rate * float64(time.Second)))
				}
				if p.seconds > 0 && due.After(until) {
					return
				}
				time.Sleep(time.Until(due))
				w.one(k, due)
			}
		}()
	}
	group.Wait()
	return gather(workers, time.Since(p.began).Seconds())
}

func gather(workers []worker, seconds float64) (outcome, []string) {
	found := outcome{Seconds: seconds}
	var tooks []float64
	var acked []string
	for _, w := range workers {
		found.Requests += len(w.tooks) + w.broken
		found.Done, found.Failed, found.Broken = found.Done+w.done, found.Failed+w.failed, found.Broken+w.broken
		if found.Failure == "" {
			found.Failure = w.failure
		}
		tooks, acked = append(tooks, w.tooks...), append(acked, w.acked...)
	}
	sort.Float64s(tooks)
	if last := len(tooks) - 1; last >= 0 {
		at := func(share float64) float64 { return tooks[min(int(share*float64(last+1)), last)] }
		found.P50, found.P99, found.Max = at(.5), at(.99), tooks[last]
	}
	return found, acked
}

type worker struct {
	plan                 *plan
	wire                 wire
	rng                  *rand.Rand
	head, before, after  string
	out, item            []byte
	fires                []float64
	tooks                []float64
	acked                []string
	done, failed, broken int
	failure              string
}

// makeTemplates writes what all requests of a kind have in common.
func (w *worker) makeTemplates() {
	p := w.plan
	payload := `{\"order\":12345,\"pad\":\"` + strings.Repeat("x", max(p.payload-24, 0)) + `\"}`
	callback := fmt.Sprintf(`{"type":"http","details":{"url":"%s","method":"POST","headers":{"Content-Type":"application/json","Accept":"application/json"}}}`, p.callback)
	if p.topic != "" {
		callback = fmt.Sprintf(`{"type":"kafka","details":{"topic":"%s"}}`, p.topic)
	}
	w.before = `","payload":"` + payload + `","scheduleTime":`
	w.after = `,"callback":` + callback + `}`
	verb, path := "POST", p.root+"/schedules"
	switch p.do {
	case "create":
	case "batch":
		path += "/batch"
	case "apps":
		path = p.root + "/apps"
	case "get":
		verb = "GET"
	case "cancel":
		verb = "DELETE"
	case "path":
		verb, path = "GET", p.root+p.path
	default:
		fail("-do: no such thing: " + p.do)
	}
	w.head = verb + " " + path
}

var idMark = []byte(`"scheduleId":"`)

func (w *worker) one(k int, due time.Time) {
	items := w.request(k)
	status, body, err := w.wire.ask(w.out)
	now := time.Now()
	if err != nil {
		w.broken++
		w.fail(err.Error())
		return
	}
	w.tooks = append(w.tooks, float64(now.Sub(due).Microseconds())/1e3)
	done := 0
	if status/100 == 2 {
		done = items
	}
	if creates := len(w.fires); creates > 0 && done > 0 {
		done = w.note(body, now)
	}
	w.done += done
	if w.failed += items - done; done < items {
		w.fail(fmt.Sprintf("HTTP %d %.300s", status, body))
	}
}

func (w *worker) fail(about string) {
	if w.failure == "" {
		w.failure = about
	}
}

// note counts the ids of an answer; with one for each item they are in order, and kept.
func (w *worker) note(body []byte, now time.Time) int {
	count := bytes.Count(body, idMark)
	if count != len(w.fires) || w.plan.idsTo == "" {
		return min(count, len(w.fires))
	}
	for _, fire := range w.fires {
		body = body[bytes.Index(body, idMark)+len(idMark):]
		id := string(body[:bytes.IndexByte(body, '"')])
		w.acked = append(w.acked, fmt.Sprintf("%s,%.0f,%d", id, fire*1e3, now.UnixMilli()))
	}
	return count
}

// request writes the k-th request and returns how many items it has.
func (w *worker) request(k int) int {
	p := w.plan
	w.fires, w.item = w.fires[:0], w.item[:0]
	path, count := "", 1
	switch p.do {
	case "create":
		w.schedule(k)
	case "batch":
		count = p.items
		w.item = append(w.item, `{"schedules":[`...)
		for n := 0; n < count; n++ {
			if n > 0 {
				w.item = append(w.item, ',')
			}
			w.schedule(k*count + n)
		}
		w.item = append(w.item, `]}`...)
	case "apps":
		w.item = fmt.Appendf(w.item, `{"appId":"%s-%d","partitions":%d,"active":true}`, p.app, k, p.partitions)
	case "get", "cancel":
		path = "/" + p.ids[k%len(p.ids)]
	}
	w.out = append(append(append(w.out[:0], w.head...), path...), " HTTP/1.1\r\nHost: "...)
	w.out = append(append(w.out, p.address...), "\r\n"...)
	if len(w.item) > 0 {
		w.out = append(w.out, "Content-Type: application/json\r\nContent-Length: "...)
		w.out = append(strconv.AppendInt(w.out, int64(len(w.item)), 10), "\r\n"...)
	}
	w.out = append(append(w.out, "\r\n"...), w.item...)
	return count
}

// schedule appends the n-th schedule of the run to the body.
func (w *worker) schedule(n int) {
	p := w.plan
	fire := p.dueAt
	if fire == 0 {
		fire = float64(time.Now().UnixMilli())/1e3 + p.dueFrom + w.rng.Float64()*(p.dueTo-p.dueFrom)
	} else if total := p.most; total > 0 && p.spread > 0 {
		if p.do == "batch" {
			total *= p.items
		}
		fire += float64(n) * p.spread / float64(total)
	}
	w.item = append(w.item, `{"appId":"`...)
	w.item = append(w.item, p.app...)
	if p.apps > 1 {
		w.item = strconv.AppendInt(append(w.item, '-'), int64(n%p.apps), 10)
	}
	w.item = append(w.item, w.before...)
	fire = math.Round(fire*1e3) / 1e3 // as it is written: what it is held against must be the same
	if p.isWhole {
		fire = float64(int64(fire))
		w.item = strconv.AppendInt(w.item, int64(fire), 10)
	} else {
		w.item = strconv.AppendFloat(w.item, fire, 'f', 3, 64)
	}
	w.item = append(w.item, w.after...)
	w.fires = append(w.fires, fire)
}

func cpuSeconds() float64 {
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

func writeLines(path string, lines []string) {
	file, err := os.Create(path)
	if err != nil {
		fail(err)
	}
	out := bufio.NewWriter(file)
	for _, line := range lines {
		out.WriteString(line)
		out.WriteByte('\n')
	}
	if err = out.Flush(); err == nil {
		err = file.Close()
	}
	if err != nil {
		fail(err)
	}
}
