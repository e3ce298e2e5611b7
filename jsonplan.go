package penstock

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// jsonPlan is a short way to and from JSON for plain types: strings, booleans,
// numbers, and structs of them. It knows only the text that encoding/json itself
// writes for such values and its near kin; at the first byte that is anything
// else it gives up, and encoding/json decides. So what it makes is always what
// encoding/json would have made, in a fraction of the time: of a small task's
// journey through the worker encoding/json was a third. Values are read and
// written in place, by their fields' offsets: through reflect.Value it would be
// no faster than encoding/json, and every input would be on the heap.
type jsonPlan struct {
	kind   reflect.Kind // of the value in memory: String, Bool, Int8 … Float64, Struct
	fields []jsonField  // of a Struct, in order
}

type jsonField struct {
	jsonPlan
	offset uintptr
	name   string
	lead   string // `"name":`
	omit   bool   // when zero
}

const jsonFieldsMax = 64 // of one struct; more are left to encoding/json

// planJSON is the plan for t; nil = there is none.
func planJSON(t reflect.Type) *jsonPlan {
	if hasOwnJSON(t) {
		return nil
	}
	switch k := t.Kind(); k {
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &jsonPlan{kind: k}
	case reflect.Struct:
		return planStruct(t)
	}
	return nil
}

var ownJSON = []reflect.Type{
	reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler](),
	reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
}

// hasOwnJSON says whether t, or a pointer to it, has a word to say on its JSON.
func hasOwnJSON(t reflect.Type) bool {
	for _, i := range ownJSON {
		if t.Implements(i) || reflect.PointerTo(t).Implements(i) {
			return true
		}
	}
	return t == reflect.TypeFor[json.Number]()
}

func planStruct(t reflect.Type) *jsonPlan {
	p := &jsonPlan{kind: reflect.Struct}
	if t.NumField() > jsonFieldsMax {
		return nil
	}
	seen := map[string]bool{}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			return nil // its rules are long
		}
		tag := f.Tag.Get("json")
		if !f.IsExported() || tag == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "" {
			name = f.Name
		}
		sub := planJSON(f.Type)
		if sub == nil || !plainName(name) || seen[strings.ToLower(name)] {
			return nil
		}
		seen[strings.ToLower(name)] = true
		jf := jsonField{jsonPlan: *sub, offset: f.Offset, name: name, lead: `"` + name + `":`}
		for o := range strings.SplitSeq(options, ",") {
			switch o {
			case "":
			case "omitempty", "omitzero":
				if k := sub.kind; k == reflect.Struct || k == reflect.Float32 || k == reflect.Float64 {
					return nil // empty and zero are not the same for these
				}
				if _, own := reflect.PointerTo(f.Type).MethodByName("IsZero"); own {
					return nil
				}
				jf.omit = true
			default:
				return nil
			}
		}
		p.fields = append(p.fields, jf)
	}
	return p
}

// plainName says whether a name is written as it is, quoted.
func plainName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

// append writes the value at v; false = it is not for this plan.
func (p *jsonPlan) append(b []byte, v unsafe.Pointer) ([]byte, bool) {
	switch p.kind {
	case reflect.String:
		return appendPlainString(b, *(*string)(v))
	case reflect.Bool:
		return strconv.AppendBool(b, *(*bool)(v)), true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, p.loadInt(v), 10), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(b, p.loadUint(v), 10), true
	case reflect.Struct:
		return p.appendStruct(b, v)
	}
	return b, false // a float's text has long rules too
}

func (p *jsonPlan) loadInt(v unsafe.Pointer) int64 {
	switch p.kind {
	case reflect.Int:
		return int64(*(*int)(v))
	case reflect.Int8:
		return int64(*(*int8)(v))
	case reflect.Int16:
		return int64(*(*int16)(v))
	case reflect.Int32:
		return int64(*(*int32)(v))
	}
	return *(*int64)(v)
}

func (p *jsonPlan) loadUint(v unsafe.Pointer) uint64 {
	switch p.kind {
	case reflect.Uint:
		return uint64(*(*uint)(v))
	case reflect.Uint8:
		return uint64(*(*uint8)(v))
	case reflect.Uint16:
		return uint64(*(*uint16)(v))
	case reflect.Uint32:
		return uint64(*(*uint32)(v))
	}
	return *(*uint64)(v)
}

// isZero asks a field that is left out when it is zero.
func (p *jsonPlan) isZero(v unsafe.Pointer) bool {
	switch p.kind {
	case reflect.String:
		return *(*string)(v) == ""
	case reflect.Bool:
		return !*(*bool)(v)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return p.loadInt(v) == 0
	}
	return p.loadUint(v) == 0
}

func (p *jsonPlan) appendStruct(b []byte, v unsafe.Pointer) ([]byte, bool) {
	b = append(b, '{')
	first := true
	for i := range p.fields {
		f := &p.fields[i]
		fv := unsafe.Add(v, f.offset)
		if f.omit && f.isZero(fv) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, f.lead...)
		var ok bool
		if b, ok = f.append(b, fv); !ok {
			return b, false
		}
	}
	return append(b, '}'), true
}

func appendPlainString(b []byte, s string) ([]byte, bool) {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return b, false
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"'), true
}

// decode reads all of data into the value at v, which is zero; false = it is not
// for this plan, and the value may be half written.
func (p *jsonPlan) decode(data []byte, v unsafe.Pointer) bool {
	rest, ok := p.read(skipSpace(data), v)
	return ok && len(skipSpace(rest)) == 0
}

// read takes one value from the front of b.
func (p *jsonPlan) read(b []byte, v unsafe.Pointer) (rest []byte, ok bool) {
	switch p.kind {
	case reflect.String:
		s, rest, ok := plainString(b)
		if ok {
			*(*string)(v) = string(s)
		}
		return rest, ok
	case reflect.Bool:
		if len(b) >= 4 && string(b[:4]) == "true" {
			*(*bool)(v) = true
			return b[4:], true
		}
		if len(b) >= 5 && string(b[:5]) == "false" {
			*(*bool)(v) = false
			return b[5:], true
		}
		return b, false
	case reflect.Struct:
		return p.readStruct(b, v)
	}
	return p.readNumber(b, v)
}

func (p *jsonPlan) readNumber(b []byte, v unsafe.Pointer) (rest []byte, ok bool) {
	n, whole := numberLen(b)
	if n == 0 {
		return b, false
	}
	text := string(b[:n])
	switch {
	case p.kind == reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		*(*float64)(v), ok = x, err == nil
	case p.kind == reflect.Float32:
		x, err := strconv.ParseFloat(text, 32)
		*(*float32)(v), ok = float32(x), err == nil
	case whole && p.kind <= reflect.Int64:
		x, err := strconv.ParseInt(text, 10, 64)
		ok = err == nil && p.storeInt(v, x)
	case whole:
		x, err := strconv.ParseUint(text, 10, 64)
		ok = err == nil && p.storeUint(v, x)
	}
	return b[n:], ok
}

// storeInt writes x if it fits.
func (p *jsonPlan) storeInt(v unsafe.Pointer, x int64) bool {
	switch p.kind {
	case reflect.Int:
		*(*int)(v) = int(x)
	case reflect.Int8:
		*(*int8)(v) = int8(x)
	case reflect.Int16:
		*(*int16)(v) = int16(x)
	case reflect.Int32:
		*(*int32)(v) = int32(x)
	default:
		*(*int64)(v) = x
	}
	return p.loadInt(v) == x
}

func (p *jsonPlan) storeUint(v unsafe.Pointer, x uint64) bool {
	switch p.kind {
	case reflect.Uint:
		*(*uint)(v) = uint(x)
	case reflect.Uint8:
		*(*uint8)(v) = uint8(x)
	case reflect.Uint16:
		*(*uint16)(v) = uint16(x)
	case reflect.Uint32:
		*(*uint32)(v) = uint32(x)
	default:
		*(*uint64)(v) = x
	}
	return p.loadUint(v) == x
}

// numberLen is how long the number at the front of b is, 0 if there is none,
// and whether it is whole: no fraction, no exponent.
func numberLen(b []byte) (n int, whole bool) {
	digits := func() bool {
		from := n
		for n < len(b) && b[n] >= '0' && b[n] <= '9' {
			n++
		}
		return n > from
	}
	at := func(c byte) bool { return n < len(b) && b[n] == c }
	if at('-') {
		n++
	}
	if at('0') {
		n++
	} else if !digits() {
		return 0, false
	}
	whole = true
	if at('.') {
		n, whole = n+1, false
		if !digits() {
			return 0, false
		}
	}
	if at('e') || at('E') {
		n, whole = n+1, false
		if at('+') || at('-') {
			n++
		}
		if !digits() {
			return 0, false
		}
	}
	return n, whole
}

func (p *jsonPlan) readStruct(b []byte, v unsafe.Pointer) (rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '{' {
		return b, false
	}
	b = skipSpace(b[1:])
	if len(b) > 0 && b[0] == '}' {
		return b[1:], true
	}
	for next := 0; ; next++ {
		f, rest := p.field(b, next)
		if f == nil {
			return b, false
		}
		if b, ok = f.read(rest, unsafe.Add(v, f.offset)); !ok {
			return b, false
		}
		b = skipSpace(b)
		if len(b) == 0 {
			return b, false
		}
		c := b[0]
		b = b[1:]
		if c == '}' {
			return b, true
		}
		if c != ',' {
			return b, false
		}
		b = skipSpace(b)
	}
}

// field reads a member's name and colon. Most often it is the next one.
func (p *jsonPlan) field(b []byte, next int) (*jsonField, []byte) {
	if next < len(p.fields) {
		if f := &p.fields[next]; len(b) > len(f.lead) && string(b[:len(f.lead)]) == f.lead {
			return f, skipSpace(b[len(f.lead):])
		}
	}
	name, rest, ok := plainString(b)
	if rest = skipSpace(rest); !ok || len(rest) == 0 || rest[0] != ':' {
		return nil, b
	}
	for i := range p.fields {
		if f := &p.fields[i]; f.name == string(name) {
			return f, skipSpace(rest[1:])
		}
	}
	return nil, b
}

// plainString reads a string without escapes.
func plainString(b []byte) (s, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, b, false
	}
	ascii := true
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			s = b[1:i]
			return s, b[i+1:], ascii || utf8.Valid(s)
		case c < 0x20 || c == '\\':
			return nil, b, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, b, false
}

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\t' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}

// typedCodec is a Codec for one type, by the short way where there is one.
type typedCodec[T any] struct {
	codec Codec
	plan  *jsonPlan
}

func newTypedCodec[T any](c Codec) typedCodec[T] {
	t := typedCodec[T]{codec: c}
	if c == JSON {
		t.plan = planJSON(reflect.TypeFor[T]())
	}
	return t
}

func (c *typedCodec[T]) append(dst []byte, v T) ([]byte, error) {
	if c.plan != nil {
		if b, ok := c.plan.append(dst, unsafe.Pointer(&v)); ok {
			return b, nil
		}
	}
	return c.codec.Append(dst, v)
}

// decode reads data into v, which is zero.
func (c *typedCodec[T]) decode(data []byte, v *T) error {
	if c.plan != nil && len(data) > 0 && c.plan.decode(data, unsafe.Pointer(v)) {
		return nil
	}
	var anew T // half of v may be written; and v itself may stay off the heap
	err := c.codec.Decode(data, &anew)
	*v = anew
	return err
}
