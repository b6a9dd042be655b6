package provider

import (
	"slices"
	"testing"
	"time"
)

func TestParseInt(t *testing.T) {
	t.Parallel()
	good := map[string]int64{"0": 0, "-0": 0, "31": 31, "31.0": 31, "31.": 31, " 7 ": 7, "5e2": 500, "1.5e1": 15, "100e-2": 1, "-2.50e1": -25,
		"3000000522486060": 3000000522486060, "3.000000522486061e15": 3000000522486061, "9223372036854775807": 9223372036854775807,
		"-9223372036854775808.0": -9223372036854775808, "0.0": 0, "0e-5": 0, "007": 7}
	for text, want := range good {
		if got, ok := ParseInt(text); !ok || got != want {
			t.Errorf("ParseInt(%q) = %d, %v; want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "x", "1.5", "5e-1", "1e", "e1", ".5", "1e41", "1e999999999", "9223372036854775808", "1_000", "0x10", "--1", "1.2.3", "٣"} {
		if got, ok := ParseInt(text); ok {
			t.Errorf("ParseInt(%q) = %d, want none", text, got)
		}
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 1, 1, 0, 0, 5, 0, time.UTC)
	for _, text := range []string{"1767225605", "1767225605.0", "1767225605.9", "1767225605000", "2026-01-01T00:00:05Z", "2026-01-01T08:00:05+08:00",
		"2026-01-01T08:00:05+0800", "2026-01-01T00:00:05", "2026-01-01 00:00:05", "2026-01-01 00:00:05+00:00", "2026-01-01T00:00:05.000000Z"} {
		if got, ok := ParseTime(text); !ok || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("ParseTime(%q) = %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "0", "-5", "soon", "1e30", "NaN", "Inf", "2026-13-01T00:00:00Z"} {
		if got, ok := ParseTime(text); ok {
			t.Errorf("ParseTime(%q) = %v, want none", text, got)
		}
	}
}

func TestObject(t *testing.T) {
	t.Parallel()
	o, err := ParseObject([]byte(`{"text":"a","number":31.0,"quoted":"31","null":null,"flag":true,"one":{"x":1},"many":[{"x":1},7,{"x":2}],
		"texts":["a",2,null,{}],"big":3000000522486061,"empty":"","Text":"other","twice":1,"twice":2,"score":"92.5"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := o.Text("empty", "null", "many", "number"); got != "31.0" {
		t.Errorf("Text = %q", got)
	}
	for _, key := range []string{"number", "quoted"} {
		if got, ok := o.Int(key); !ok || got != 31 {
			t.Errorf("Int(%s) = %d, %v", key, got, ok)
		}
	}
	if got, _ := o.Int("big"); got != 3000000522486061 {
		t.Errorf("big = %d", got)
	}
	if got, _ := o.Int("twice"); got != 2 {
		t.Errorf("the last of repeated keys must count, got %d", got)
	}
	if got, ok := o.Float("score"); !ok || got != 92.5 {
		t.Errorf("Float = %v, %v", got, ok)
	}
	if o.Has("null") || o.Has("absent") || !o.Has("empty") || o.Raw("null") != nil {
		t.Error("null must read as missing")
	}
	if len(o.Objects("one")) != 1 || len(o.Objects("many")) != 2 || o.Objects("text") != nil || o.Objects("null") != nil {
		t.Error("objects are miscounted")
	}
	if got := o.Texts("texts"); !slices.Equal(got, []string{"a", "2"}) {
		t.Errorf("Texts = %q", got)
	}
	if !o.Bool("flag") || o.Bool("text") {
		t.Error("Bool is wrong")
	}
	for _, text := range []string{"", "null", "[]", "7", `"x"`, "{", "{} {}", "<html>"} {
		if _, err := ParseObject([]byte(text)); err != ErrNotObject {
			t.Errorf("ParseObject(%q): %v", text, err)
		}
	}
	var none Object
	if none.Text("x") != "" || none.Objects("x") != nil || none.Has("x") {
		t.Error("a nil object must read as an empty one")
	}
}
