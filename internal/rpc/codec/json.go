package codec

import (
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// The JSON form of penstock.v1, as docs/protocol.md tells it, differs from
// protobuf's own in what curl users care for: payloads and results are plain
// JSON, kept byte by byte; lengths of time are "30s" and moments RFC 3339;
// enums are their bare names; headers are an object; a request for one thing
// has that thing's fields in itself. Shapes are found by the names of fields,
// so that a new field needs no code here.

// form is how a field stands in JSON.
type form uint8

const (
	formPlain    form = iota // as its type says
	formRaw                  // bytes that are plain JSON, or base64 beside it
	formText                 // bytes that are text
	formDuration             // "30s"
	formTime                 // RFC 3339
	formHeaders              // an object
)

type jsonField struct {
	fd   protoreflect.FieldDescriptor
	name string
	form form
	enum map[string]protoreflect.EnumNumber // names without the type's prefix
}

// spelling is one name a field may have in a request.
type spelling struct {
	field  *jsonField
	base64 bool // the name is …Base64
	millis bool // the name is …Ms: a plain number
}

type jsonShape struct {
	fields   []*jsonField
	inline   *jsonField // its fields may stand in this message
	spelled  map[string]spelling
	full     bool // zero numbers and false are written out
	response bool
}

var (
	shapes sync.Map // protoreflect.FullName → *jsonShape

	inlineFields = map[protoreflect.FullName]bool{
		"penstock.v1.EnqueueRequest.task":   true,
		"penstock.v1.ExtendRequest.lease":   true,
		"penstock.v1.CompleteRequest.lease": true,
		"penstock.v1.FailRequest.lease":     true,
		"penstock.v1.ReleaseRequest.lease":  true,
		"penstock.v1.SetRequest.config":     true,
	}
	fullShapes = map[protoreflect.Name]bool{
		"Task": true, "LeasedTask": true, "Queue": true, "WaitResponse": true, "PurgeResponse": true,
		"ListResponse": true, "InfoResponse": true, "PartitionInfo": true, "WorkerInfo": true, "Progress": true,
	}
)

func shapeOf(md protoreflect.MessageDescriptor) *jsonShape {
	if s, ok := shapes.Load(md.FullName()); ok {
		return s.(*jsonShape)
	}
	s := &jsonShape{
		spelled:  map[string]spelling{},
		full:     fullShapes[md.Name()],
		response: strings.HasSuffix(string(md.Name()), "Response"),
	}
	for i := range md.Fields().Len() {
		f := newJSONField(md.Fields().Get(i))
		s.fields = append(s.fields, f)
		s.spell(f)
		if inlineFields[f.fd.FullName()] {
			s.inline = f
		}
	}
	shapes.Store(md.FullName(), s)
	return s
}

func newJSONField(fd protoreflect.FieldDescriptor) *jsonField {
	f := &jsonField{fd: fd, name: fd.JSONName()}
	base := string(fd.Name())
	switch {
	case strings.HasSuffix(base, "_unix_ms"):
		f.form, f.name = formTime, camel(strings.TrimSuffix(base, "_unix_ms"))
	case strings.HasSuffix(base, "_ms"):
		f.form, f.name = formDuration, camel(strings.TrimSuffix(base, "_ms"))
	case fd.Kind() == protoreflect.BytesKind && base == "log":
		f.form = formText
	case fd.Kind() == protoreflect.BytesKind:
		f.form = formRaw
	case fd.Kind() == protoreflect.MessageKind && fd.Message().Name() == "Header":
		f.form = formHeaders
	case fd.Kind() == protoreflect.EnumKind:
		f.enum = map[string]protoreflect.EnumNumber{}
		for i := range fd.Enum().Values().Len() {
			v := fd.Enum().Values().Get(i)
			f.enum[enumText(v)] = v.Number()
		}
	}
	return f
}

// spell lists the names that a request may use: camelCase and snake_case, with
// the unit or without.
func (s *jsonShape) spell(f *jsonField) {
	plain := spelling{field: f}
	s.spelled[f.name] = plain
	s.spelled[snake(f.name)] = plain
	switch f.form {
	case formRaw:
		s.spelled[f.name+"Base64"] = spelling{field: f, base64: true}
		s.spelled[snake(f.name)+"_base64"] = spelling{field: f, base64: true}
	case formDuration, formTime:
		s.spelled[f.fd.JSONName()] = spelling{field: f, millis: true}
		s.spelled[string(f.fd.Name())] = spelling{field: f, millis: true}
	}
}

// known lists the names of a message's fields, for an error text.
func (s *jsonShape) known() string {
	var names []string
	add := func(from *jsonShape) {
		for _, f := range from.fields {
			if f != s.inline && !slices.Contains(names, f.name) {
				names = append(names, f.name)
			}
		}
	}
	if s.inline != nil {
		add(shapeOf(s.inline.fd.Message()))
	}
	add(s)
	return strings.Join(names, ", ")
}

// enumText is an enum value's name without the prefix that is the type's.
func enumText(v protoreflect.EnumValueDescriptor) string {
	prefix := strings.ToUpper(snake(string(v.Parent().Name()))) + "_"
	return strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix))
}

func camel(s string) string {
	parts := strings.Split(s, "_")
	for i, p := range parts[1:] {
		parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
	}
	return strings.Join(parts, "")
}

func snake(s string) string {
	var b strings.Builder
	for i, r := range s {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
