package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

const connections = 32

// server is something that answers GET /didit/status.
type server struct {
	address string // host:port
	tokens  []string
}

// load asks the server as fast as it answers, for customers chosen at random.
func (s server) load(ctx context.Context, lasting time.Duration) (round, error) {
	l := load{address: s.address, connections: connections, compose: func(out []byte) []byte {
		return append(append(append(out, requestHead...), s.tokens[rand.IntN(len(s.tokens))]...), requestTail...)
	}}
	return l.run(ctx, lasting)
}

var (
	requestHead = []byte("GET /didit/status HTTP/1.1\r\n" + headers + "Authorization: Bearer ")
	requestTail = []byte("\r\n\r\n")
)

// headers are those of every request, as the app and a proxy in front send them.
const headers = "Host: 127.0.0.1\r\nUser-Agent: Dart/3.5 (dart:io)\r\nAccept: application/json\r\nAccept-Language: en\r\nX-Forwarded-For: 203.0.113.7\r\n"

// load is what a server is asked, and over how many connections, which stay open. Any answer but 200 is an error.
//
// The client is a socket, a buffer and as much of HTTP/1.1 as the answer needs: its share of the machine is taken from
// both sides of a comparison, so it has to be small.
type load struct {
	address     string // host:port
	connections int
	every       time.Duration               // one connection asks at these times; 0: as fast as it is answered
	compose     func(request []byte) []byte // appends a request
}

func (l load) run(ctx context.Context, lasting time.Duration) (round, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	latencies := make([][]time.Duration, l.connections)
	var all sync.WaitGroup
	start := time.Now()
	for i := range l.connections {
		all.Go(func() {
			var err error
			// Those that ask at fixed times do not ask all at the same.
			if latencies[i], err = l.ask(ctx, start.Add(l.every*time.Duration(i)/time.Duration(l.connections)), start.Add(lasting)); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	if err := context.Cause(ctx); err != nil {
		return round{}, err
	}
	return newRound(slices.Concat(latencies...), took), nil
}

// ask asks over one connection. Where the times of asking are fixed, a latency counts from that time on.
func (l load) ask(ctx context.Context, start, until time.Time) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	var latencies []time.Duration
	in := bufio.NewReader(conn)
	var out []byte
	for start.Before(until) {
		if l.every > 0 {
			time.Sleep(time.Until(start))
		}
		out = l.compose(out[:0])
		if _, err := conn.Write(out); err != nil {
			return nil, err
		}
		if err := readAnswer(in); err != nil {
			return nil, err
		}
		end := time.Now()
		latencies = append(latencies, end.Sub(start))
		if l.every > 0 {
			start = start.Add(l.every)
		} else {
			start = end
		}
	}
	return latencies, nil
}

// readAnswer reads one answer and drops its body.
func readAnswer(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	refusal := ""
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		refusal = string(bytes.TrimSpace(line))
	}
	length, chunked := -1, false
	for {
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
		chunked = chunked || bytes.HasPrefix(line, []byte("Transfer-Encoding: chunked"))
	}
	if refusal != "" {
		body := make([]byte, max(length, 0))
		_, err := io.ReadFull(in, body)
		return errors.Join(fmt.Errorf("answered %q: %s", refusal, body), err)
	}
	for chunked {
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
		size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return err
		}
		if _, err := in.Discard(int(size) + len("\r\n")); err != nil || size == 0 {
			return err
		}
	}
	if length < 0 {
		return errors.New("answered without Content-Length")
	}
	_, err = in.Discard(length)
	return err
}

// one asks once, with an ordinary client, for comparing what servers answer.
func (s server) one(ctx context.Context, token string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/didit/status", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept-Language", "en")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %s: %s", res.Status, body)
	}
	return string(body), err
}

// sameAnswers checks that two servers answer alike, byte for byte: otherwise they cannot be compared.
func sameAnswers(ctx context.Context, a, b server) error {
	for i := range 50 {
		token := a.tokens[i%len(a.tokens)]
		left, err := a.one(ctx, token)
		if err != nil {
			return err
		}
		right, err := b.one(ctx, token)
		if err != nil {
			return err
		}
		if left != right {
			return fmt.Errorf("the servers answer differently:\n%s%s", left, right)
		}
	}
	return nil
}
