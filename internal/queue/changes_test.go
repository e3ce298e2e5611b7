package queue

import (
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// Of a key the last word counts, whatever came before it: put or dropped, and named
// once.
func TestChanges(t *testing.T) {
	type rec struct{ key, val int }
	f := func(again bool, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var c Changes[int, rec]
		for range 5 {
			putOnce(&c, true, func(r *rec) int { return r.key })
			c.again = again
			puts, drops := map[int]int{}, map[int]bool{}
			for i := range rnd.IntN(60) {
				k := rnd.IntN(12)
				_, put := puts[k]
				switch {
				case rnd.IntN(3) == 0:
					c.drop(k)
					drops[k] = true
					delete(puts, k)
				case again || !put:
					c.put(rec{k, i})
					puts[k] = i
					delete(drops, k)
				}
			}
			got := map[int]int{}
			for _, r := range c.Puts {
				got[r.key] = r.val
			}
			if !maps.Equal(got, puts) || len(c.Puts) != len(puts) {
				t.Fatalf("seed %d, again %v: puts %v, want %v", seed, again, c.Puts, puts)
			}
			if want := slices.Sorted(maps.Keys(drops)); !slices.Equal(slices.Sorted(slices.Values(c.Drops)), want) {
				t.Fatalf("seed %d, again %v: drops %v, want %v", seed, again, c.Drops, want)
			}
		}
	}
	for seed := range uint64(300) {
		f(false, seed)
		f(true, seed)
	}
}

// Reset forgets all that an Output lists, and what is to be stored counts as changed.
func TestOutputIsReset(t *testing.T) {
	var o Output
	lists := 0
	var fill func(v reflect.Value, name string)
	fill = func(v reflect.Value, name string) {
		for i := range v.NumField() {
			x, name := v.Field(i), name+v.Type().Field(i).Name
			switch {
			case x.Kind() == reflect.Slice:
				x.Set(reflect.MakeSlice(x.Type(), 1, 1))
				lists++
				shown := slices.Contains([]string{"Leased", "Ended", "Revoked", "Lapsed", "Held", "Events", "Wants", "Deferred", "Taken"}, name)
				if n := o.Changed(); n == 0 != shown {
					t.Errorf("one in %s: %d changes", name, n)
				}
				o.Reset()
				if x.Len() > 0 {
					t.Errorf("%s is not reset", name)
				}
			case x.Kind() == reflect.Struct && x.CanSet():
				if _, ok := x.Addr().Interface().(interface{ count(bool) int }); ok {
					fill(x, name+".")
				}
			}
		}
	}
	fill(reflect.ValueOf(&o).Elem(), "")
	if lists == 0 {
		t.Error("no list was found")
	}
}
