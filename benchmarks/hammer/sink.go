package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A sink answers every callback with 200 and remembers which schedule it was of, and when its head had come.
// `/_count` tells how many came, `/_reset` forgets them, `/_dump` lists them: id, milliseconds since 1970;
// `/_dump?N` all but the first N. With `-by-path`, the path of a request stands for its id.
type sink struct {
	mu    sync.Mutex
	most  int
	paths bool
	came  []arrival
	alone map[string]struct{}
}

type arrival struct {
	id string
	at int64
}

func runSink(args []string) {
	flags := flag.NewFlagSet("sink", flag.ExitOnError)
	addr := flags.String("addr", "127.0.0.1:0", "where to listen; port 0 takes a free one")
	most := flags.Int("most", 5_000_000, "callbacks that are remembered")
	byPath := flags.Bool("by-path", false, "remember the path of a callback instead of its schedule id")
	flags.Parse(args)
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		fail(err)
	}
	fmt.Printf("listens on http://%s\n", listener.Addr())
	s := &sink{most: *most, paths: *byPath, alone: map[string]struct{}{}}
	for {
		conn, err := listener.Accept()
		if err != nil {
			fail(err)
		}
		go s.serve(conn)
	}
}

func (s *sink) serve(conn net.Conn) {
	defer conn.Close()
	in, wanted := bufio.NewReaderSize(conn, 8<<10), []byte("schedule-id")
	var body []byte
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		parts := bytes.Fields(line)
		if len(parts) != 3 {
			return
		}
		path := string(parts[1])
		length, isChunked, isLast, id, err := readHead(in, wanted)
		if err != nil {
			return
		}
		at := time.Now().UnixMicro()
		if s.paths {
			id = path
		}
		if body, err = readBody(in, body[:0], length, isChunked); err != nil {
			return
		}
		if err := s.answer(conn, path, id, at); err != nil || isLast {
			return
		}
	}
}

var done = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

func (s *sink) answer(conn net.Conn, path, id string, at int64) error {
	var body []byte
	path, query, _ := strings.Cut(path, "?")
	switch path {
	case "/_count":
		s.mu.Lock()
		body = fmt.Appendf(nil, `{"came":%d,"alone":%d}`, len(s.came), len(s.alone))
		s.mu.Unlock()
	case "/_reset":
		s.mu.Lock()
		s.came, s.alone = nil, map[string]struct{}{}
		s.mu.Unlock()
	case "/_dump":
		first, _ := strconv.Atoi(query)
		s.mu.Lock()
		came := s.came[min(first, len(s.came)):]
		s.mu.Unlock()
		for _, each := range came {
			body = fmt.Appendf(body, "%s,%.3f\n", each.id, float64(each.at)/1e3)
		}
	default:
		s.mu.Lock()
		if len(s.came) < s.most {
			s.came = append(s.came, arrival{id, at})
			s.alone[id] = struct{}{}
		}
		s.mu.Unlock()
		_, err := conn.Write(done)
		return err
	}
	_, err := conn.Write(append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body)), body...))
	return err
}
