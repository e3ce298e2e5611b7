package codec

import (
	"fmt"
	"sync"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/task"
)

const keepBytesMax = 4 << 20 // a longer buffer is not kept for use again

var (
	joinPool bufferPool // frames received in pieces
	outPool  bufferPool
)

// bufferPool is a mem.BufferPool for buffers that grow by append: Put keeps
// whatever length they have come to.
type bufferPool struct{ p sync.Pool }

// Get gives a buffer of the length asked.
func (p *bufferPool) Get(n int) *[]byte {
	b, _ := p.p.Get().(*[]byte)
	if b == nil {
		b = new([]byte)
	}
	if cap(*b) < max(n, 1) {
		*b = make([]byte, n, max(n, 4096))
	}
	*b = (*b)[:n]
	return b
}

// Put takes a buffer back.
func (p *bufferPool) Put(b *[]byte) {
	if cap(*b) <= keepBytesMax {
		p.p.Put(b)
	}
}

// NewOut takes an empty buffer to write a frame into. Out gives it to gRPC,
// FreeOut takes one back that was not sent.
func NewOut() *[]byte { return outPool.Get(0) }

// FreeOut gives back a buffer that was not sent.
func FreeOut(b *[]byte) { outPool.Put(b) }

// Out is a frame to send; its buffer belongs to gRPC once it is sent.
type Out struct{ Buf *[]byte }

// In is a frame received. Data is valid until Free; Ref keeps it for one more
// Free.
type In struct{ buf mem.Buffer }

// Data is the frame's bytes.
func (in *In) Data() []byte { return in.buf.ReadOnlyData() }

// Buffer is what holds the frame's bytes, for those who keep parts of them.
func (in *In) Buffer() mem.Buffer { return in.buf }

// Free gives the frame back.
func (in *In) Free() {
	if in.buf != nil {
		in.buf.Free()
		in.buf = nil
	}
}

// Codec is the gRPC codec "proto" that also knows Out and In. Generated
// messages go through it as they do through gRPC's own.
type Codec struct{}

// Name is the content subtype.
func (Codec) Name() string { return "proto" }

// Marshal encodes v.
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *Out:
		b := mem.NewBuffer(m.Buf, &outPool)
		m.Buf = nil
		return mem.BufferSlice{b}, nil
	case proto.Message:
		buf := outPool.Get(0)
		b, err := proto.MarshalOptions{}.MarshalAppend(*buf, m)
		if err != nil {
			return nil, err
		}
		*buf = b
		return mem.BufferSlice{mem.NewBuffer(buf, &outPool)}, nil
	}
	return nil, fmt.Errorf("encode %T: not a message", v)
}

// Unmarshal decodes data into v.
func (Codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *In:
		m.buf = data.MaterializeToBuffer(&joinPool)
		return nil
	case proto.Message:
		buf := data.MaterializeToBuffer(&joinPool)
		defer buf.Free()
		return UnmarshalBounded(buf.ReadOnlyData(), m)
	}
	return fmt.Errorf("decode %T: not a message", v)
}

// fieldsMax is how many fields a message may have, entries of lists counted
// one by one: the longest list is a batch.
const fieldsMax = 2 * task.BatchMax

// UnmarshalBounded is proto.Unmarshal that refuses what would take far more
// memory than bytes: millions of empty entries.
func UnmarshalBounded(b []byte, m proto.Message) error {
	f := fields{b: b}
	for n := 0; f.next(); n++ {
		if n == fieldsMax {
			return fmt.Errorf("a message of more than %d entries", fieldsMax)
		}
	}
	return proto.Unmarshal(b, m)
}
