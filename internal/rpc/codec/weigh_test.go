package codec

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

// What a body is charged with bounds what it becomes: it is never less than half of
// what is allocated for it, garbage included, nor far more than that.
func TestWeighed(t *testing.T) {
	var headers, tags []string
	for i := range 32 {
		headers = append(headers, fmt.Sprintf(`"%d":""`, i))
	}
	for i := range 16 {
		tags = append(tags, fmt.Sprintf(`"%c"`, 'a'+i))
	}
	const n = 9_999
	for name, one := range map[string]string{
		"plain":   `{"type":"t","payload":1}`,
		"tags":    `{"type":"t","payload":1,"tags":[` + strings.Join(tags, ",") + `]}`,
		"headers": `{"type":"t","payload":1,"headers":{` + strings.Join(headers, ",") + `}}`,
		"limits":  `{"type":"t","payload":1,"limitKeys":["a","b","c"]}`,
		"empty":   `{}`,
		"policy":  `{"type":"t","policy":{"maxAttempts":3,"backoff":{}}}`,
		"names":   `{"type":"` + strings.Repeat("t", 250) + `","payload":1,"key":"` + strings.Repeat("k", 250) + `"}`,
		"payload": `{"type":"t","payload":"` + strings.Repeat("k", 1500) + `"}`,
		"objects": `{"type":"t","payload":{` + strings.Join(headers, ",") + `}}`,
	} {
		data := []byte(`{"queue":"q","tasks":[` + strings.Repeat(one+",", n-1) + one + `]}`)
		m := new(pb.EnqueueRequest)
		weighed := WeighJSON(data)
		took := allocated(func() {
			if err := ParseJSON(data, m); err != nil {
				t.Fatal(name, err)
			}
			use(m)
		})
		check := func(form string) {
			t.Helper()
			t.Logf("%-8s %s: weighed %d bytes a task, took %d", name, form, weighed/n, took/n)
			if weighed < took/2 || weighed > 3*took+3*len(data) {
				t.Errorf("%s in %s: weighed %d bytes, took %d", name, form, weighed, took)
			}
		}
		check("JSON")
		data, _ = proto.Marshal(m)
		m = new(pb.EnqueueRequest)
		weighed = WeighProto(data, m)
		took = allocated(func() {
			if err := UnmarshalBounded(data, m); err != nil {
				t.Fatal(name, err)
			}
			use(m)
		})
		check("protobuf")
	}
}

// use makes of a request what the server makes of it.
func use(m *pb.EnqueueRequest) {
	specs := make([]task.Spec, len(m.Tasks))
	answer := &pb.EnqueueResponse{Results: make([]*pb.EnqueueResult, len(m.Tasks))}
	results := make([]task.Enqueued, len(m.Tasks))
	for i, x := range m.Tasks {
		specs[i] = SpecFromProto(x)
		answer.Results[i] = &pb.EnqueueResult{Id: task.ID{Seq: task.Seq(i)}.String()}
	}
	runtime.KeepAlive(AppendJSON(nil, answer))
	runtime.KeepAlive(specs)
	runtime.KeepAlive(results)
}

func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// A body is weighed before anybody knows that it is one.
func FuzzWeigh(f *testing.F) {
	for _, s := range []string{`{"tasks":[{"payload":{"a":[1]},"tags":["x"]}]}`, `{"payload" : [`, `"\`, `{"result":{"`, "\x0a\x03\x0a\x01a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := WeighProto(b, new(pb.EnqueueRequest)); n < len(b) {
			t.Errorf("as protobuf %d", n)
		}
		n := WeighJSON(b)
		if n < len(b) || json.Valid(b) && n > len(b)*(weighObject+1) {
			t.Errorf("as JSON %d", n)
		}
	})
}
