package partition

import (
	"reflect"
	"slices"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/store"
)

// What a batch is for has a line among the kinds: a list of the Output that is to be
// stored, and that no kind encodes, would be lost without a word.
func TestEveryKindIsEncoded(t *testing.T) {
	r := newRig(t, store.MemOptions{}).r
	made := []string{"Births", "Timed", "Dead.Puts", "Finished.Puts"} // from other records, that are not there
	seen := 0
	try := func(list reflect.Value, name string) {
		list.Set(reflect.MakeSlice(list.Type(), 1, 1))
		if r.out.Changed() > 0 && !slices.Contains(made, name) {
			seen++
			var tn turn
			if err := r.encode(&tn); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if tn.batch.Len() < 2 { // the meta record is put anyway
				t.Errorf("one in %s, and no operation of the batch", name)
			}
		}
		r.out.Reset()
	}
	r.out = queue.Output{}
	r.out.Reset()
	o := reflect.ValueOf(&r.out).Elem()
	for i := range o.NumField() {
		x, name := o.Field(i), o.Type().Field(i).Name
		switch x.Kind() {
		case reflect.Slice:
			try(x, name)
		case reflect.Struct:
			for _, list := range []string{"Puts", "Drops"} {
				if l := x.FieldByName(list); l.IsValid() {
					try(l, name+"."+list)
				}
			}
		}
	}
	if seen == 0 {
		t.Error("no kind was found")
	}
}
