package codec

import (
	"math"

	"github.com/penstock-io/penstock/internal/task"
)

const (
	deliveriesSession = 1
	deliveriesTasks   = 2

	deliveryID          = 1
	deliveryToken       = 2
	deliveryQueue       = 3
	deliveryType        = 4
	deliveryPayload     = 5
	deliveryAttempt     = 6
	deliveryEnqueuedAt  = 7
	deliveryTimeout     = 8
	deliveryMaxAttempts = 9
	deliveryPriority    = 10
	deliveryKey         = 11
	deliveryContentType = 12
	deliveryHeaders     = 13
	deliveryTags        = 14
	deliveryFailures    = 15
	deliveryCrashes     = 16
	deliveryReleases    = 17
	deliveryDeadline    = 18
	deliveryLeaseEnd    = 19
)

// DeliveryBytes is about what d takes on the wire; never much less.
func DeliveryBytes(d *task.Delivery) int {
	n := len(d.Payload) + len(d.Queue) + len(d.Type) + len(d.Key) + len(d.ContentType) + task.TokenBytes + 48
	for i := range d.Headers {
		n += len(d.Headers[i].Name) + len(d.Headers[i].Value) + 6
	}
	for _, t := range d.Tags {
		n += len(t) + 2
	}
	return n
}

// AppendDeliveries appends ds as a part of a frame.
func AppendDeliveries(b []byte, session uint32, ds []task.Delivery) []byte {
	guess := 8
	for i := range ds {
		guess += DeliveryBytes(&ds[i])
	}
	b, mark, width := open(b, PartDeliveries, guess)
	b = appendNonzero(b, deliveriesSession, uint64(session))
	for i := range ds {
		b = appendDelivery(b, &ds[i])
	}
	return shut(b, mark, width)
}

func appendDelivery(b []byte, d *task.Delivery) []byte {
	b, mark, width := open(b, deliveriesTasks, DeliveryBytes(d))
	b = appendID(b, deliveryID, d.ID)
	b = appendToken(b, deliveryToken, d.Token)
	b = appendString(b, deliveryQueue, d.Queue)
	b = appendString(b, deliveryType, d.Type)
	b = appendBytes(b, deliveryPayload, d.Payload)
	b = appendNonzero(b, deliveryAttempt, uint64(d.Attempt))
	b = appendNonzero(b, deliveryEnqueuedAt, uint64(d.EnqueuedAt))
	b = appendNonzero(b, deliveryTimeout, uint64(d.Timeout))
	b = appendNonzero(b, deliveryMaxAttempts, uint64(int64(d.MaxAttempts)))
	if d.Priority != task.DefaultPriority {
		b = appendVarint(b, deliveryPriority, uint64(d.Priority))
	}
	b = appendString(b, deliveryKey, d.Key)
	b = appendString(b, deliveryContentType, d.ContentType)
	b = appendHeaders(b, deliveryHeaders, d.Headers)
	for _, t := range d.Tags {
		b = appendEntry(b, deliveryTags, t)
	}
	b = appendNonzero(b, deliveryFailures, uint64(d.Counts.Failures))
	b = appendNonzero(b, deliveryCrashes, uint64(d.Counts.Crashes))
	b = appendNonzero(b, deliveryReleases, uint64(d.Counts.Releases))
	b = appendNonzero(b, deliveryDeadline, uint64(d.Deadline))
	b = appendNonzero(b, deliveryLeaseEnd, uint64(d.LeaseEnd))
	return shut(b, mark, width)
}

// DecodeDeliveries reads a group; ds is used again. Payloads alias body.
func DecodeDeliveries(body []byte, ds []task.Delivery, names *Names) (session uint32, out []task.Delivery, err error) {
	ds = ds[:0]
	var none task.Delivery
	last := &none
	f := fields{b: body}
	for f.next() {
		switch {
		case f.num == deliveriesSession && f.is(wireVarint):
			session = uint32(f.v)
		case f.num == deliveriesTasks && f.is(wireBytes):
			ds = append(ds, task.Delivery{Priority: task.DefaultPriority})
			d := &ds[len(ds)-1]
			if err := decodeDelivery(f.p, d, last, names); err != nil {
				return session, ds, err
			}
			last = d
		}
	}
	return session, ds, f.err()
}

func decodeDelivery(b []byte, d, last *task.Delivery, names *Names) error {
	f := fields{b: b}
	for f.next() {
		if f.wire == wireVarint {
			decodeDeliveryNumber(&f, d)
			continue
		}
		switch f.num {
		case deliveryID:
			id, ok := task.IDFromBinary(f.p)
			if !ok {
				return errBadID
			}
			d.ID = id
		case deliveryToken:
			t, ok := task.TokenFromBinary(f.p)
			if !ok {
				return errBadToken
			}
			d.Token = t
		case deliveryQueue:
			d.Queue = names.Of(f.p, last.Queue)
		case deliveryType:
			d.Type = names.Of(f.p, last.Type)
		case deliveryPayload:
			d.Payload = f.p
		case deliveryKey:
			d.Key = names.Key(f.p, last.Key)
		case deliveryContentType:
			d.ContentType = names.Of(f.p, last.ContentType)
		case deliveryHeaders:
			h, err := decodeHeader(f.p, names)
			if err != nil {
				return err
			}
			d.Headers = append(d.Headers, h)
		case deliveryTags:
			d.Tags = append(d.Tags, names.Of(f.p, ""))
		}
	}
	return f.err()
}

func decodeDeliveryNumber(f *fields, d *task.Delivery) {
	switch f.num {
	case deliveryAttempt:
		d.Attempt = uint32(f.v)
	case deliveryEnqueuedAt:
		d.EnqueuedAt = task.Time(f.v)
	case deliveryTimeout:
		d.Timeout = task.Millis(f.v)
	case deliveryMaxAttempts:
		d.MaxAttempts = int32(f.v)
	case deliveryPriority:
		d.Priority = uint8(min(uint32(f.v), math.MaxUint8))
	case deliveryFailures:
		d.Counts.Failures = uint32(f.v)
	case deliveryCrashes:
		d.Counts.Crashes = uint32(f.v)
	case deliveryReleases:
		d.Counts.Releases = uint32(f.v)
	case deliveryDeadline:
		d.Deadline = task.Time(f.v)
	case deliveryLeaseEnd:
		d.LeaseEnd = task.Time(f.v)
	}
}
