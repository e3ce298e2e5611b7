package penstock

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"
)

type color string

type inner struct {
	X, Y int16
	On   bool
}

// plain has all that a plan knows.
type plain struct {
	S    string
	Tag  string `json:"tag_1"`
	C    color
	B    bool
	I    int
	I8   int8
	I64  int64 `json:",omitempty"`
	U    uint
	U8   uint8 `json:"u8,omitzero"`
	In   inner
	Last string `json:"last,omitempty"`
	Skip string `json:"-"`
	_    int
}

type withFloat struct {
	F   float64
	F32 float32
	S   string
}

func plainJSON(v any) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// agree checks that a plan reads and writes as encoding/json does, or gives up.
func agree[T any](t *testing.T, data []byte) (planned bool) {
	t.Helper()
	var want, got, zero T
	c := newTypedCodec[T](JSON)
	if c.plan == nil {
		t.Fatalf("no plan for %T", want)
	}
	wantErr := json.Unmarshal(data, &want)
	if c.plan.decode(data, unsafe.Pointer(&got)) {
		planned = true
		if wantErr != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("decode %q into %T:\n got %+v\nwant %+v, %v", data, got, got, want, wantErr)
		}
	}
	got = zero
	if err := c.decode(data, &got); (err == nil) != (wantErr == nil && len(data) > 0 || len(data) == 0) || err == nil && len(data) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("decode %q into %T: got %+v, %v; want %+v, %v", data, got, got, err, want, wantErr)
	}
	if wantErr == nil {
		b, err := c.append([]byte("x"), want)
		if err != nil || string(b[1:]) != string(plainJSON(want)) {
			t.Errorf("encode %+v:\n got %s, %v\nwant %s", want, b[1:], err, plainJSON(want))
		}
	}
	return planned
}

func TestJSONPlanAgrees(t *testing.T) {
	full := plain{S: "s ü €", Tag: "t", C: "red", B: true, I: -5, I8: -128, I64: math.MaxInt64, U: 7, U8: 255, In: inner{1, -2, true}, Last: "l"}
	for _, v := range []plain{{}, full} {
		if !agree[plain](t, plainJSON(v)) {
			t.Errorf("the plan gave up on what encoding/json wrote for %+v", v)
		}
	}
	for _, s := range []string{
		`{}`, ` { } `, `{"S":"a"}`, "\t{ \"S\" :\r\n\"a\" , \"I\" : 3 }  ", `{"I":3,"S":"b"}`, `{"I":1,"I":2}`, `{"In":{"X":1},"In":{"Y":2}}`,
	} {
		if !agree[plain](t, []byte(s)) {
			t.Errorf("the plan gave up on %s", s)
		}
	}
	for _, s := range []string{
		``, ` `, `{`, `{"S"`, `{"S":`, `{"S":}`, `{"S":"a"`, `{"S":"a",}`, `{"S":"a"}x`, `{,}`, `{"S":"a"]`, `[]`, `null`, `{"S":null}`, `{"I":null}`,
		`{"s":"a"}`, `{"TAG_1":"a"}`, `{"Nope":1}`, `{"S":"a\n"}`, "{\"S\":\"a\n\"}", "{\"S\":\"\xff\"}", `{"S":"\u00e4"}`, `{"S":1}`, `{"I":"1"}`, `{"I":1.0}`, `{"I":1e2}`,
		`{"I":01}`, `{"I":-}`, `{"I":-0}`, `{"I":+1}`, `{"U":-1}`, `{"U":-0}`, `{"I8":128}`, `{"U8":256}`, `{"I64":9223372036854775808}`, `{"B":tru}`, `{"B":truex}`, `{"In":1}`, `{"In":{}}`, `{"inner":1}`, `{"Skip":"a"}`, `{"-":"a"}`, `{"":1}`,
	} {
		agree[plain](t, []byte(s))
	}
	for _, s := range []string{`1`, `-1`, ` 12 `, `1.5`, `"1"`, `128`, `--1`, `1 2`} {
		agree[int8](t, []byte(s))
		agree[float32](t, []byte(s))
		agree[string](t, []byte(s))
	}
	for _, s := range []string{`{"F":1}`, `{"F":-1.5e-3,"F32":1e10,"S":"x"}`, `{"F":1e999}`, `{"F32":1e39}`, `{"F":1.}`, `{"F":.5}`, `{"F":1e}`, `{"F":-0}`, `{"F":0.1e+5}`} {
		agree[withFloat](t, []byte(s))
	}
	agree[struct{}](t, []byte(`{}`))
	agree[bool](t, []byte(`true`))
	for _, s := range []string{"<&>", "\u2028", "a\"b", "a\\b", "\x7f", "\x00", "\xff", "日本"} {
		agree[string](t, plainJSON(s))
	}
}

type ownText struct{ N int }

func (ownText) MarshalText() ([]byte, error) { return []byte("own"), nil }

func TestJSONPlanLeavesTheRest(t *testing.T) {
	f := func(v any) {
		t.Helper()
		if planJSON(reflect.TypeOf(v)) != nil {
			t.Errorf("there is a plan for %T", v)
		}
	}
	f(time.Time{})
	f(json.Number(""))
	f(json.RawMessage{})
	f([]string{})
	f(map[string]string{})
	f(&plain{})
	f(ownText{})
	f(struct{ T time.Time }{})
	f(struct{ P *int }{})
	f(struct{ inner }{})
	f(struct {
		A int `json:"a,string"`
	}{})
	f(struct {
		A int `json:"a b"`
	}{})
	f(struct {
		A int `json:"x"`
		B int `json:"X"`
	}{})
	f(struct {
		F float64 `json:",omitempty"`
	}{})
}

func FuzzJSONPlan(f *testing.F) {
	f.Add(plainJSON(plain{S: "a", I: 1, In: inner{1, 2, true}}))
	f.Add([]byte(`{"S":"a","I":-1,"F":1.5e3}`))
	f.Add([]byte(`"text"`))
	f.Fuzz(func(t *testing.T, data []byte) {
		agree[plain](t, data)
		agree[withFloat](t, data)
		agree[string](t, data)
		agree[uint16](t, data)
	})
}

func BenchmarkJSON(b *testing.B) {
	v := plain{S: "order-4711", Tag: "some text", I: 42, U: 7, In: inner{1, 2, true}, Last: strings.Repeat("x", 60)}
	data := plainJSON(v)
	c := newTypedCodec[plain](JSON)
	for _, plan := range []*jsonPlan{c.plan, nil} {
		c.plan = plan
		b.Run(fmt.Sprintf("decode/planned=%v", plan != nil), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var got plain
				if err := c.decode(data, &got); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("encode/planned=%v", plan != nil), func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				var err error
				if buf, err = c.append(buf[:0], v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
