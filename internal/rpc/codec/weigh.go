package codec

import (
	"bytes"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// What a request's parts take once it is decoded, answers and what the decoder
// drops on the way included: measured, see TestWeighed. A body of some bytes a task
// becomes a kilobyte a task.
const (
	weighObject = 1 << 10 // a task: as it comes, as it goes to the broker, its answer
	weighEntry  = 64      // a string in a list, half of a header
)

// rawNames are the members of JSON that are taken as they are.
var rawNames = [...]string{`"payload"`, `"result"`}

// WeighJSON is about how many bytes of memory body takes once it is decoded. It is
// told before anything is: body may be anything.
func WeighJSON(body []byte) int {
	n := len(body)
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{':
			n += weighObject
		case '"':
			end := stringEnd(body, i)
			n += weighEntry
			i = end - 1
			if raw := rawAt(body, end); raw > 0 {
				i = raw - 1
			}
		}
	}
	return n
}

// stringEnd is behind the string that begins at i, or the end of b.
func stringEnd(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// rawAt is behind the value of the member whose name ends at end, if that is kept as
// it is written; 0: it is another, or a plain value.
func rawAt(b []byte, end int) int {
	named := false
	for _, name := range rawNames {
		named = named || bytes.HasSuffix(b[:end], []byte(name))
	}
	if !named {
		return 0
	}
	i := skipSpace(b, end)
	if i == len(b) || b[i] != ':' {
		return 0
	}
	i = skipSpace(b, i+1)
	if i == len(b) || b[i] != '{' && b[i] != '[' {
		return 0
	}
	for depth := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = stringEnd(b, i) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(b)
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// WeighProto is about how many bytes of memory b takes once it is decoded as m.
func WeighProto(b []byte, m proto.Message) int {
	return len(b) + weighMessage(b, m.ProtoReflect().Descriptor())
}

func weighMessage(b []byte, md protoreflect.MessageDescriptor) int {
	n := weighObject
	if md.Fields().Len() <= 2 { // a header
		n = 2 * weighEntry
	}
	for len(b) > 0 {
		num, typ, head := protowire.ConsumeTag(b)
		if head < 0 {
			return n
		}
		b = b[head:]
		if typ != protowire.BytesType {
			size := protowire.ConsumeFieldValue(num, typ, b)
			if size < 0 {
				return n
			}
			n += 8 // an entry of a list that is not packed
			b = b[size:]
			continue
		}
		v, size := protowire.ConsumeBytes(b)
		if size < 0 {
			return n
		}
		b = b[size:]
		switch fd := md.Fields().ByNumber(num); {
		case fd == nil:
		case fd.Kind() == protoreflect.MessageKind:
			n += weighMessage(v, fd.Message())
		case fd.Kind() == protoreflect.StringKind || fd.Kind() == protoreflect.BytesKind:
			n += weighEntry
		default:
			n += 8 * len(v) // packed numbers
		}
	}
	return n
}
