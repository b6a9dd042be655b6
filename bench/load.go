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

// load asks the server over connections that stay open, as fast as each of them is answered, for a time. Every request is
// that of a customer chosen at random. Any answer but 200 is an error.
//
// The client is a socket, a buffer and as much of HTTP/1.1 as the answer needs: its share of the machine is taken from
// both sides of a comparison, so it has to be small.
func (s server) load(ctx context.Context, lasting time.Duration) (round, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	latencies := make([][]time.Duration, connections)
	var all sync.WaitGroup
	start := time.Now()
	for i := range connections {
		all.Go(func() {
			var err error
			if latencies[i], err = s.ask(ctx, start.Add(lasting)); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	if err := context.Cause(ctx); err != nil {
		return round{}, err
	}
	var list []time.Duration
	for _, l := range latencies {
		list = append(list, l...)
	}
	return newRound(list, took), nil
}

var (
	requestHead = []byte("GET /didit/status HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Dart/3.5 (dart:io)\r\nAccept: application/json\r\n" +
		"Accept-Language: en\r\nX-Forwarded-For: 203.0.113.7\r\nAuthorization: Bearer ")
	requestTail = []byte("\r\n\r\n")
)

func (s server) ask(ctx context.Context, until time.Time) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	var latencies []time.Duration
	in := bufio.NewReader(conn)
	var out []byte
	for start := time.Now(); start.Before(until); {
		out = append(append(append(out[:0], requestHead...), s.tokens[rand.IntN(len(s.tokens))]...), requestTail...)
		if _, err := conn.Write(out); err != nil {
			return nil, err
		}
		if err := readAnswer(in); err != nil {
			return nil, err
		}
		end := time.Now()
		latencies = append(latencies, end.Sub(start))
		start = end
	}
	return latencies, nil
}

// readAnswer reads one answer with a Content-Length and drops its body.
func readAnswer(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("answered %q", bytes.TrimSpace(line))
	}
	length := -1
	for {
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if name := []byte("Content-Length: "); bytes.HasPrefix(line, name) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(name):]))); err != nil {
				return err
			}
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
