package codec

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

// ParseJSON reads body into m, which is empty. What m does not know, what
// stands there twice and what has the wrong form is refused with its name.
// Payloads alias body.
func ParseJSON(body []byte, m proto.Message) *task.Error {
	if len(strings.TrimSpace(string(body[:min(len(body), 64)]))) == 0 && len(strings.TrimSpace(string(body))) == 0 {
		return task.Errorf(task.Invalid, "the body is empty: send a JSON object, {} at least")
	}
	if !utf8.Valid(body) {
		return task.Errorf(task.Invalid, "the body is not valid UTF-8: send bytes that are not text as base64 in payloadBase64")
	}
	if !json.Valid(body) {
		return syntaxError(body)
	}
	d := jsonDecoder{b: body}
	if d.peek() != '{' {
		return task.Errorf(task.Invalid, "the body is %s: send a JSON object", kindOf(d.value()))
	}
	if err := d.message(m.ProtoReflect(), ""); err != nil {
		return err
	}
	return nil
}

func syntaxError(body []byte) *task.Error {
	var v json.RawMessage
	err := json.Unmarshal(body, &v)
	var se *json.SyntaxError
	if errors.As(err, &se) {
		return task.Errorf(task.Invalid, "the body is not JSON: %s at byte %d", se.Error(), se.Offset)
	}
	return task.Errorf(task.Invalid, "the body is not JSON: %v", err)
}

// jsonDecoder walks over JSON that is known to be valid, so it only has to find
// where values end.
type jsonDecoder struct {
	b []byte
	i int
}

func (d *jsonDecoder) peek() byte {
	for d.i < len(d.b) {
		switch c := d.b[d.i]; c {
		case ' ', '\t', '\n', '\r':
			d.i++
		default:
			return c
		}
	}
	return 0
}

// value takes the next value whole, as it is written.
func (d *jsonDecoder) value() []byte {
	c := d.peek()
	start := d.i
	switch c {
	case '"':
		d.skipString()
	case '{', '[':
		depth := 0
		for d.i < len(d.b) {
			switch d.b[d.i] {
			case '"':
				d.skipString()
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			d.i++
			if depth == 0 {
				break
			}
		}
	default:
		for d.i < len(d.b) && !strings.ContainsRune(",]} \t\n\r", rune(d.b[d.i])) {
			d.i++
		}
	}
	return d.b[start:d.i:d.i]
}

func (d *jsonDecoder) skipString() {
	for d.i++; d.b[d.i] != '"'; d.i++ {
		if d.b[d.i] == '\\' {
			d.i++
		}
	}
	d.i++
}

// each walks over the members of an object; the decoder stands at a value
// during the call and f takes it.
func (d *jsonDecoder) each(f func(key string) *task.Error) *task.Error {
	d.peek()
	d.i++
	for d.peek() != '}' {
		if d.b[d.i] == ',' {
			d.i++
			d.peek()
		}
		raw := d.value()
		if half := halfPair(raw); half != "" {
			return task.Errorf(task.Invalid, `the name %s is not valid UTF-8: %s is half of a surrogate pair`, clip(string(raw)), half)
		}
		key := unquote(raw)
		d.peek()
		d.i++ // the colon
		d.peek()
		if err := f(key); err != nil {
			return err
		}
	}
	d.i++
	return nil
}

// items walks over the entries of an array.
func (d *jsonDecoder) items(f func(i int) *task.Error) *task.Error {
	d.peek()
	d.i++
	for n := 0; d.peek() != ']'; n++ {
		if d.b[d.i] == ',' {
			d.i++
			d.peek()
		}
		if err := f(n); err != nil {
			return err
		}
	}
	d.i++
	return nil
}

func unquote(raw []byte) string {
	in := raw[1 : len(raw)-1]
	if !strings.Contains(string(in), `\`) {
		return string(in)
	}
	var s string
	_ = json.Unmarshal(raw, &s) // it is valid
	return s
}

// halfPair finds the escape of a UTF-16 surrogate without its other half. Go
// reads it as U+FFFD, so that names that differ would become the same.
func halfPair(raw []byte) string {
	unit := func(i int) (rune, bool) {
		if i+6 > len(raw) || raw[i] != '\\' || raw[i+1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(raw[i+2:i+6]), 16, 16)
		return rune(n), err == nil
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		r, ok := unit(i)
		switch {
		case !ok:
			i++
			continue
		case utf16.IsSurrogate(r):
			low, _ := unit(i + 6)
			if utf16.DecodeRune(r, low) == utf8.RuneError {
				return string(raw[i : i+6])
			}
			i += 6
		}
		i += 5
	}
	return ""
}

// prose is text for people: it is taken as it is, so that no report is lost.
var prose = map[protoreflect.FullName]bool{
	"penstock.v1.Failure.error": true,
	"penstock.v1.Progress.text": true,
}

func (d *jsonDecoder) message(m protoreflect.Message, path string) *task.Error {
	shape := shapeOf(m.Descriptor())
	seen := map[protoreflect.FullName]string{}
	return d.each(func(key string) *task.Error {
		sp, ok := shape.spelled[key]
		into := m
		if !ok && shape.inline != nil {
			if sp, ok = shapeOf(shape.inline.fd.Message()).spelled[key]; ok {
				into = m.Mutable(shape.inline.fd).Message()
			}
		}
		at := path + key
		if !ok {
			return shape.unknown(key, path)
		}
		switch before, twice := seen[sp.field.fd.FullName()]; {
		case twice && before == key:
			return task.Errorf(task.Invalid, "%s is given twice", at)
		case twice:
			return task.Errorf(task.Invalid, "give %s or %s, not both", path+before, at)
		}
		seen[sp.field.fd.FullName()] = key
		return d.field(into, sp, at)
	})
}

// unknown refuses a field, and says where it belongs if a part of the message
// has it.
func (s *jsonShape) unknown(key, path string) *task.Error {
	where := "the request"
	if path != "" {
		where = strings.TrimSuffix(path, ".")
	}
	fields := s.fields
	if s.inline != nil {
		fields = slices.Concat(shapeOf(s.inline.fd.Message()).fields, fields)
	}
	for _, f := range fields {
		if f.form != formPlain || f.fd.Kind() != protoreflect.MessageKind || f.fd.IsList() || f == s.inline {
			continue
		}
		if _, ok := shapeOf(f.fd.Message()).spelled[key]; ok {
			return task.Errorf(task.Invalid, `unknown field %q in %s: it stands in %s, as "%s":{"%s":…}`, key, where, f.name, f.name, key)
		}
	}
	return task.Errorf(task.Invalid, "unknown field %q in %s: known are %s", clip(key), where, s.known())
}

func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}

func (d *jsonDecoder) field(m protoreflect.Message, sp spelling, at string) *task.Error {
	f := sp.field
	if f.form == formRaw {
		return d.raw(m, sp, at)
	}
	if d.peek() == 'n' { // null: as if it were not there
		d.value()
		return nil
	}
	if f.form == formHeaders {
		return d.headers(m.Mutable(f.fd).List(), at)
	}
	if !f.fd.IsList() {
		if f.fd.Kind() == protoreflect.MessageKind {
			return d.nested(m.Mutable(f.fd).Message(), at)
		}
		v, err := d.scalar(sp, at)
		if err == nil {
			m.Set(f.fd, v)
		}
		return err
	}
	if d.peek() != '[' {
		return task.Errorf(task.Invalid, "%s is %s: send a list", at, kindOf(d.value()))
	}
	list := m.Mutable(f.fd).List()
	return d.items(func(i int) *task.Error {
		if i == task.BatchMax {
			return task.Errorf(task.Invalid, "%s has more than %d entries: send several calls", at, task.BatchMax)
		}
		at := at + "[" + strconv.Itoa(i) + "]"
		if f.fd.Kind() == protoreflect.MessageKind {
			e := list.NewElement()
			list.Append(e)
			return d.nested(e.Message(), at)
		}
		v, err := d.scalar(sp, at)
		if err == nil {
			list.Append(v)
		}
		return err
	})
}

func (d *jsonDecoder) nested(m protoreflect.Message, at string) *task.Error {
	if d.peek() != '{' {
		return task.Errorf(task.Invalid, "%s is %s: send an object", at, kindOf(d.value()))
	}
	return d.message(m, at+".")
}

func (d *jsonDecoder) raw(m protoreflect.Message, sp spelling, at string) *task.Error {
	v := d.value()
	if sp.base64 {
		if v[0] != '"' {
			return task.Errorf(task.Invalid, "%s is %s: send base64 as a string", at, kindOf(v))
		}
		p, err := base64.StdEncoding.DecodeString(unquote(v))
		if err != nil {
			return task.Errorf(task.Invalid, "%s is not standard base64: %v", at, err)
		}
		v = p
	}
	m.Set(sp.field.fd, protoreflect.ValueOfBytes(v))
	return nil
}

func (d *jsonDecoder) headers(list protoreflect.List, at string) *task.Error {
	if d.peek() != '{' {
		return task.Errorf(task.Invalid, "%s is %s: send an object of names and values", at, kindOf(d.value()))
	}
	seen := map[string]bool{}
	return d.each(func(name string) *task.Error {
		v := d.value()
		if v[0] != '"' {
			return task.Errorf(task.Invalid, "%s.%s is %s: send a string", at, clip(name), kindOf(v))
		}
		if seen[name] {
			return task.Errorf(task.Invalid, "%s.%s is given twice", at, clip(name))
		}
		if half := halfPair(v); half != "" {
			return task.Errorf(task.Invalid, `%s.%s is not valid UTF-8: %s is half of a surrogate pair`, at, clip(name), half)
		}
		seen[name] = true
		list.Append(protoreflect.ValueOfMessage((&pb.Header{Name: name, Value: unquote(v)}).ProtoReflect()))
		return nil
	})
}

func (d *jsonDecoder) scalar(sp spelling, at string) (protoreflect.Value, *task.Error) {
	v := d.value()
	isText := v[0] == '"'
	wrong := func(want string) (protoreflect.Value, *task.Error) {
		return protoreflect.Value{}, task.Errorf(task.Invalid, "%s is %s: send %s", at, kindOf(v), want)
	}
	f := sp.field
	switch {
	case f.form == formDuration && !sp.millis:
		if !isText {
			return wrong(`a length of time as a string, such as "30s" or "5m", or use ` + f.fd.JSONName())
		}
		return parseDuration(unquote(v), at)
	case f.form == formTime && !sp.millis:
		if !isText {
			return wrong(`a moment as a string, such as "2030-01-02T15:04:05Z", or use ` + f.fd.JSONName())
		}
		return parseTime(unquote(v), at)
	case f.form == formText:
		if !isText {
			return wrong("a string")
		}
		return protoreflect.ValueOfBytes([]byte(unquote(v))), nil
	}
	switch f.fd.Kind() {
	case protoreflect.StringKind:
		if !isText {
			return wrong("a string")
		}
		if half := halfPair(v); half != "" && !prose[f.fd.FullName()] {
			return protoreflect.Value{}, task.Errorf(task.Invalid, `%s %s is not valid UTF-8: %s is half of a surrogate pair`, at, clip(string(v)), half)
		}
		return protoreflect.ValueOfString(unquote(v)), nil
	case protoreflect.BoolKind:
		if v[0] != 't' && v[0] != 'f' {
			return wrong("true or false")
		}
		return protoreflect.ValueOfBool(v[0] == 't'), nil
	case protoreflect.EnumKind:
		if isText {
			if n, ok := f.enum[unquote(v)]; ok {
				return protoreflect.ValueOfEnum(n), nil
			}
		}
		return protoreflect.Value{}, task.Errorf(task.Invalid, "%s is %s: use one of %s", at, clip(string(v)), f.enumNames())
	}
	return parseInt(f.fd.Kind(), v, at)
}

func (f *jsonField) enumNames() string {
	var names []string
	for i := range f.fd.Enum().Values().Len() {
		if name := enumText(f.fd.Enum().Values().Get(i)); name != "unknown" { // of a newer server
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// parseInt never goes through a double. Numbers may be quoted, as the 64-bit
// ones are in answers.
func parseInt(kind protoreflect.Kind, v []byte, at string) (protoreflect.Value, *task.Error) {
	s := strings.Trim(string(v), `"`)
	var out protoreflect.Value
	var err error
	switch kind {
	case protoreflect.Uint32Kind:
		var n uint64
		n, err = strconv.ParseUint(s, 10, 32)
		out = protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind:
		var n uint64
		n, err = strconv.ParseUint(s, 10, 64)
		out = protoreflect.ValueOfUint64(n)
	case protoreflect.Int32Kind:
		var n int64
		n, err = strconv.ParseInt(s, 10, 32)
		out = protoreflect.ValueOfInt32(int32(n))
	default:
		var n int64
		n, err = strconv.ParseInt(s, 10, 64)
		out = protoreflect.ValueOfInt64(n)
	}
	if err != nil {
		what := "a whole number"
		if kind == protoreflect.Uint32Kind || kind == protoreflect.Uint64Kind {
			what = "a whole number, 0 or more"
		}
		if errors.Is(err, strconv.ErrRange) {
			what += ", that is not so large"
		}
		return out, task.Errorf(task.Invalid, "%s is %s: send %s", at, clip(string(v)), what)
	}
	return out, nil
}

func parseDuration(s, at string) (protoreflect.Value, *task.Error) {
	if s == "none" {
		return protoreflect.ValueOfInt64(-1), nil
	}
	text := s
	days := int64(0)
	if n, rest, ok := strings.Cut(s, "d"); ok {
		v, err := strconv.ParseInt(n, 10, 32)
		if err != nil {
			return protoreflect.Value{}, badDuration(s, at)
		}
		days, text = v, rest
		if text == "" {
			text = "0s"
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return protoreflect.Value{}, badDuration(s, at)
	}
	if d > 0 && d < time.Millisecond {
		return protoreflect.Value{}, task.Errorf(task.Invalid, "%s is %s: the shortest length of time is 1ms", at, clip(s))
	}
	ms := days*int64(task.Day) + d.Milliseconds()
	if ms == -1 { // that means none; the check refuses any other negative length
		return protoreflect.Value{}, task.Errorf(task.Invalid, "%s is %s: a length of time is not negative", at, clip(s))
	}
	return protoreflect.ValueOfInt64(ms), nil
}

func badDuration(s, at string) *task.Error {
	return task.Errorf(task.Invalid, `%s is %q, not a length of time: write "500ms", "30s", "5m", "1h30m" or "7d"`, at, clip(s))
}

func parseTime(s, at string) (protoreflect.Value, *task.Error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return protoreflect.Value{}, task.Errorf(task.Invalid, `%s is %q, not a moment: write RFC 3339, such as "2030-01-02T15:04:05Z"`, at, clip(s))
	}
	return protoreflect.ValueOfInt64(t.UnixMilli()), nil
}

func kindOf(v []byte) string {
	switch v[0] {
	case '"':
		return fmt.Sprintf("the string %s", clip(string(v)))
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f', 'n':
		return string(v)
	}
	return "the number " + clip(string(v))
}
