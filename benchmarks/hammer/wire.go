package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

const answerWait = 20 * time.Second

// maxBody bounds what is read of one body; a list of a thousand schedules is a tenth of it.
const maxBody = 16 << 20

// wire is one kept-alive connection. It writes whole requests and reads whole answers, and is cheaper by
// far than net/http, whose cost would be most of what a machine of few cores has left.
type wire struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
	body    []byte
}

// ask sends one request and returns status and body; the body is good until the next call. A connection that
// broke is made anew by the next call.
func (w *wire) ask(request []byte) (int, []byte, error) {
	if w.conn == nil {
		conn, err := net.DialTimeout("tcp", w.address, answerWait)
		if err != nil {
			return 0, nil, err
		}
		w.conn, w.in = conn, bufio.NewReaderSize(conn, 32<<10)
	}
	w.conn.SetDeadline(time.Now().Add(answerWait))
	status, isLast, err := 0, false, error(nil)
	if _, err = w.conn.Write(request); err == nil {
		status, isLast, err = w.answer()
	}
	if err != nil || isLast {
		w.conn.Close()
		w.conn = nil
	}
	return status, w.body, err
}

func (w *wire) answer() (int, bool, error) {
	line, err := w.in.ReadSlice('\n')
	if err != nil {
		return 0, false, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, false, fmt.Errorf("not HTTP/1.1: %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, false, err
	}
	length, isChunked, isLast, _, err := readHead(w.in, nil)
	if err != nil {
		return 0, false, err
	}
	w.body, err = readBody(w.in, w.body[:0], length, isChunked)
	return status, isLast, err
}

// readHead reads header lines up to the empty one; wanted, in lower case, is a header whose value is returned.
func readHead(in *bufio.Reader, wanted []byte) (length int, isChunked, isLast bool, found string, err error) {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return 0, false, false, "", err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return length, isChunked, isLast, found, nil
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return 0, false, false, "", fmt.Errorf("not a header: %q", line)
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length > maxBody {
				return 0, false, false, "", fmt.Errorf("bad length: %q", value)
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			isChunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("connection")):
			isLast = bytes.EqualFold(value, []byte("close"))
		case wanted != nil && bytes.EqualFold(name, wanted):
			found = string(value)
		}
	}
}

func readBody(in *bufio.Reader, body []byte, length int, isChunked bool) ([]byte, error) {
	if !isChunked {
		return readPart(in, body, length)
	}
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return body, err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil || len(body)+int(size) > maxBody {
			return body, errors.New("bad chunk")
		}
		if body, err = readPart(in, body, int(size)); err != nil {
			return body, err
		}
		if _, err = in.Discard(2); err != nil || size == 0 {
			return body, err
		}
	}
}

func readPart(in *bufio.Reader, body []byte, length int) ([]byte, error) {
	from := len(body)
	if cap(body) < from+length {
		body = append(make([]byte, 0, from+length), body...)
	}
	body = body[:from+length]
	_, err := io.ReadFull(in, body[from:])
	return body, err
}
