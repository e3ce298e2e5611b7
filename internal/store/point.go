package store

import "bytes"

// Point is a key to be read, and what was found under it.
type Point struct {
	Key   []byte
	Value []byte // what was found is appended to it
	Found bool
}

// CheckPoints reports the first point that is not of the partition.
func CheckPoints(partition uint16, points []Point) error {
	for i := range points {
		if err := CheckKey(partition, points[i].Key); err != nil {
			return err
		}
	}
	return nil
}

// ComparePoints is the order of their keys.
func ComparePoints(a, b Point) int { return bytes.Compare(a.Key, b.Key) }

// GetOne reads one key where nothing is to be read beside it: it returns the value
// appended to buf, and false when there is none.
func GetOne(p Partition, key, buf []byte) ([]byte, bool, error) {
	one := []Point{{Key: key, Value: buf}}
	if err := p.Get(one); err != nil {
		return buf, false, err
	}
	return one[0].Value, one[0].Found, nil
}
