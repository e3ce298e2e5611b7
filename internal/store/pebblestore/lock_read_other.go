//go:build !unix

package pebblestore

import "errors"

// lockToRead keeps servers away from a folder while it is looked at.
func lockToRead(f *folder) error {
	err := f.take()
	if errors.Is(err, errLocked) {
		return &InUseError{Dir: f.dir}
	}
	return err
}
