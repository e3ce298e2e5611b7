package codec

import "google.golang.org/protobuf/proto"

const (
	creditSession = 1
	creditN       = 2
)

// AppendCredit appends a grant of n deliveries as a part of a frame.
func AppendCredit(b []byte, session uint32, n int) []byte {
	b, mark, width := open(b, PartCredits, 8)
	b = appendNonzero(b, creditSession, uint64(session))
	b = appendNonzero(b, creditN, uint64(n))
	return shut(b, mark, width)
}

// DecodeCredit reads a grant.
func DecodeCredit(body []byte) (session, n uint32, err error) {
	f := fields{b: body}
	for f.next() {
		if f.wire != wireVarint {
			continue
		}
		switch f.num {
		case creditSession:
			session = uint32(f.v)
		case creditN:
			n = uint32(f.v)
		}
	}
	return session, n, f.err()
}

// AppendPart appends m, a generated message, as part num of a frame.
func AppendPart(b []byte, num int, m proto.Message) ([]byte, error) {
	b, mark, width := open(b, num, proto.Size(m))
	b, err := proto.MarshalOptions{}.MarshalAppend(b, m)
	return shut(b, mark, width), err
}

// Protocol is the version of the session stream that this code speaks.
const Protocol = 1
