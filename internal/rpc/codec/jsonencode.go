package codec

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// AppendJSON appends m as JSON.
func AppendJSON(b []byte, m proto.Message) []byte {
	return appendJSONMessage(b, m.ProtoReflect())
}

func appendJSONMessage(b []byte, m protoreflect.Message) []byte {
	s := shapeOf(m.Descriptor())
	b = append(b, '{')
	start := len(b)
	for _, f := range s.fields {
		if !m.Has(f.fd) && !s.shows(f) {
			continue
		}
		if len(b) > start {
			b = append(b, ',')
		}
		b = appendJSONField(b, f, m.Get(f.fd))
	}
	return append(b, '}')
}

// shows says whether f is written although it is not set.
func (s *jsonShape) shows(f *jsonField) bool {
	switch {
	case f.fd.IsList():
		return s.response && f.fd.Kind() == protoreflect.MessageKind && f.fd.Name() != "results"
	case f.form == formDuration || f.form == formTime || f.fd.HasPresence():
		return false
	}
	switch f.fd.Kind() {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.Uint64Kind, protoreflect.EnumKind:
		return false
	}
	return s.full
}

func appendJSONField(b []byte, f *jsonField, v protoreflect.Value) []byte {
	if f.form == formRaw {
		return appendRaw(b, f.name, v.Bytes())
	}
	b = appendJSONString(b, f.name)
	b = append(b, ':')
	if f.form == formHeaders {
		return appendHeaderObject(b, v.List())
	}
	if !f.fd.IsList() {
		return appendJSONValue(b, f, v)
	}
	b = append(b, '[')
	for i := range v.List().Len() {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONValue(b, f, v.List().Get(i))
	}
	return append(b, ']')
}

// appendRaw writes bytes that are JSON as they are, others as base64 under a
// name that says so.
func appendRaw(b []byte, name string, p []byte) []byte {
	if json.Valid(p) && utf8.Valid(p) {
		b = append(appendJSONString(b, name), ':')
		return append(b, p...)
	}
	b = append(appendJSONString(b, name+"Base64"), ':', '"')
	b = base64.StdEncoding.AppendEncode(b, p)
	return append(b, '"')
}

func appendHeaderObject(b []byte, l protoreflect.List) []byte {
	b = append(b, '{')
	for i := range l.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		h := l.Get(i).Message()
		fs := h.Descriptor().Fields()
		b = appendJSONString(b, h.Get(fs.ByName("name")).String())
		b = append(b, ':')
		b = appendJSONString(b, h.Get(fs.ByName("value")).String())
	}
	return append(b, '}')
}

func appendJSONValue(b []byte, f *jsonField, v protoreflect.Value) []byte {
	switch f.form {
	case formText:
		return appendJSONString(b, valid(string(v.Bytes())))
	case formDuration:
		return append(appendSeconds(append(b, '"'), v.Int()), '"')
	case formTime:
		return time.UnixMilli(v.Int()).UTC().AppendFormat(b, `"2006-01-02T15:04:05.000Z07:00"`)
	}
	switch f.fd.Kind() {
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, v.Bool())
	case protoreflect.StringKind:
		return appendJSONString(b, v.String())
	case protoreflect.MessageKind:
		return appendJSONMessage(b, v.Message())
	case protoreflect.EnumKind:
		if d := f.fd.Enum().Values().ByNumber(v.Enum()); d != nil {
			return appendJSONString(b, enumText(d))
		}
		return strconv.AppendInt(b, int64(v.Enum()), 10)
	case protoreflect.Uint32Kind:
		return strconv.AppendUint(b, v.Uint(), 10)
	case protoreflect.Uint64Kind: // beyond what a double holds: a string
		return append(strconv.AppendUint(append(b, '"'), v.Uint(), 10), '"')
	}
	return strconv.AppendInt(b, v.Int(), 10)
}

// appendSeconds writes milliseconds as seconds: 1500 is 1.5s; -1 is none.
func appendSeconds(b []byte, ms int64) []byte {
	if ms == -1 {
		return append(b, "none"...)
	}
	if ms < 0 {
		b = append(b, '-')
	}
	sec, frac := ms/1000, ms%1000
	b = strconv.AppendUint(b, uint64(max(sec, -sec)), 10)
	if frac = max(frac, -frac); frac != 0 {
		b = append(b, '.', byte('0'+frac/100))
		if frac%100 != 0 {
			b = append(b, byte('0'+frac/10%10))
		}
		if frac%10 != 0 {
			b = append(b, byte('0'+frac%10))
		}
	}
	return append(b, 's')
}

func appendJSONString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(b, s[from:]...), '"')
}
