package penstock

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
)

// Codec turns inputs and results into bytes and back. It must be safe for
// concurrent use.
type Codec interface {
	// ContentType names the format; it travels with payload and result.
	ContentType() string
	// Append appends v's bytes to dst. v is never a pointer to a pointer: it is
	// the value given to Enqueue or returned by the handler.
	Append(dst []byte, v any) ([]byte, error)
	// Decode reads data into v, a pointer. It must not keep data.
	Decode(data []byte, v any) error
}

// JSON is the default codec: encoding/json, without escaping HTML.
var JSON Codec = jsonCodec{}

// Bytes is a codec for types whose input and result are []byte or string, kept
// as they are, as application/octet-stream.
var Bytes Codec = bytesCodec{}

type jsonCodec struct{}

// jsonEncoder is kept in a pool with the encoder that writes to it.
type jsonEncoder struct {
	buf bytes.Buffer
	enc *json.Encoder
}

const jsonKeptMax = 64 << 10 // larger buffers are left to the garbage collector

var jsonEncoders = sync.Pool{New: func() any {
	e := &jsonEncoder{}
	e.enc = json.NewEncoder(&e.buf)
	e.enc.SetEscapeHTML(false)
	return e
}}

func (jsonCodec) ContentType() string { return "application/json" }

func (jsonCodec) Append(dst []byte, v any) ([]byte, error) {
	e := jsonEncoders.Get().(*jsonEncoder)
	e.buf.Reset()
	err := e.enc.Encode(v)
	if err == nil {
		b := e.buf.Bytes()
		dst = append(dst, b[:len(b)-1]...) // the encoder ends with a newline
	}
	if e.buf.Cap() <= jsonKeptMax {
		jsonEncoders.Put(e)
	}
	return dst, err
}

func (jsonCodec) Decode(data []byte, v any) error {
	if len(data) == 0 {
		return nil // nothing was given: the zero value
	}
	return json.Unmarshal(data, v)
}

type bytesCodec struct{}

func (bytesCodec) ContentType() string { return "application/octet-stream" }

func (bytesCodec) Append(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return append(dst, v...), nil
	case string:
		return append(dst, v...), nil
	}
	return dst, fmt.Errorf("the Bytes codec takes []byte or string, not %T", v)
}

func (bytesCodec) Decode(data []byte, v any) error {
	switch v := v.(type) {
	case *[]byte:
		*v = bytes.Clone(data)
	case *string:
		*v = string(data)
	default:
		return fmt.Errorf("the Bytes codec takes []byte or string, not %T", v)
	}
	return nil
}
