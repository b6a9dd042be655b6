package api

import (
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/segmentio/encoding/json"
)

// written is the body of an answer in JSON.
type written struct{ json []byte }

var writtenPool = sync.Pool{New: func() any { return new(written) }}

// maxPooled keeps an answer that was uncommonly long from staying in memory.
const maxPooled = 256 << 10

// write makes the JSON of an answer before its head is sent, so that its length is known there: net/http sends what is long in pieces
// otherwise. It is a huma.Transformer.
func write(ctx huma.Context, _ string, v any) (any, error) {
	w := writtenPool.Get().(*written)
	var err error
	if w.json, err = json.Append(w.json[:0], v, json.SortMapKeys); err != nil { // <, > and & as they are
		panic(fmt.Errorf("answer: %w", err)) // as an error it would make huma send a 200 first
	}
	w.json = append(w.json, '\n')
	ctx.SetHeader("Content-Length", strconv.Itoa(len(w.json)))
	return w, nil
}

// send is the other half of write.
func send(out io.Writer, v any) error {
	w := v.(*written)
	_, err := out.Write(w.json)
	if cap(w.json) <= maxPooled {
		writtenPool.Put(w)
	}
	return err
}
