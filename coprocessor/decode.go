package coprocessor

import (
	"bytes"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
)

// Two bytes of a request may be a message that takes a hundred times as much in
// memory. So the elements of a request are counted before it is decoded, which
// comes before anybody is asked who they are. gRPC would answer an error of a codec
// as if the service were to blame; a request with too many elements is therefore
// decoded as an empty one with a mark, for which tooMany looks.

// elementSlack is how many elements a request may have besides those of a spec.
const elementSlack = 8192

// maxElements bounds the messages and the items of lists in one request.
func maxElements(l graph.Limits) int { return l.MaxNodes + l.MaxInputs + l.MaxOutputs + elementSlack }

// boundedCodec is the codec of gRPC with a bound on the elements of a request.
type boundedCodec struct {
	encoding.CodecV2
	limit int
}

func newBoundedCodec(limit int) boundedCodec {
	return boundedCodec{encoding.GetCodecV2(grpcproto.Name), limit}
}

// Unmarshal decodes a request.
func (c boundedCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	if n, place := elements(m.ProtoReflect().Descriptor(), buf.ReadOnlyData(), c.limit); n > c.limit {
		proto.Reset(m)
		m.ProtoReflect().SetUnknown(protowire.AppendString(bytes.Clone(overfull), place))
		return nil
	}
	return proto.Unmarshal(buf.ReadOnlyData(), m)
}

// overfull is the mark: a field with the highest number there is, whose value is the
// name of the list that is too long.
var overfull = protowire.AppendTag(nil, protowire.MaxValidNumber, protowire.BytesType)

// tooMany returns an error for a request that has the mark.
func tooMany(req any) error {
	m, ok := req.(proto.Message)
	if !ok {
		return nil
	}
	value, ok := bytes.CutPrefix(m.ProtoReflect().GetUnknown(), overfull)
	if !ok {
		return nil
	}
	place, _ := protowire.ConsumeString(value)
	return refuse(codes.InvalidArgument, "LIMIT", place, "the request has more parts than any that is allowed")
}

// elements counts the messages and the items of lists in an encoded message, at all
// depths, until there are more than limit, and names the list that it is in then.
// What is malformed it leaves to the decoder.
func elements(md protoreflect.MessageDescriptor, b []byte, limit int) (n int, place string) {
	for len(b) > 0 {
		num, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return n, ""
		}
		b = b[size:]
		size = protowire.ConsumeFieldValue(num, typ, b)
		if size < 0 {
			return n, ""
		}
		field := md.Fields().ByNumber(num)
		if field != nil && (field.IsList() || field.Message() != nil) {
			if n++; n > limit {
				return n, string(field.Name())
			}
			if value, _ := protowire.ConsumeBytes(b); field.Message() != nil && typ == protowire.BytesType {
				within, place := elements(field.Message(), value, limit-n)
				if n += within; n > limit {
					return n, place
				}
			}
		}
		b = b[size:]
	}
	return n, ""
}
