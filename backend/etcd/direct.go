package etcd

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// A direct connection makes every call once. It makes it as the stream that it
// is to gRPC, and so passes by clientv3's interceptor, which repeats what
// anybody but the caller has canceled up to a hundred times, writes included,
// and a call with a void login as well.
type direct struct{ *grpc.ClientConn }

// Invoke implements grpc.ClientConnInterface.
func (d direct) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	stream, err := d.NewStream(ctx, &grpc.StreamDesc{}, method, opts...)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(args); err != nil {
		return err
	}
	return stream.RecvMsg(reply)
}

// connection is what a store uses of a client. One that has a user logs in
// within that interceptor, and for each stream: it is used as it is.
func connection(client *clientv3.Client) grpc.ClientConnInterface {
	if client.Username != "" {
		return client.ActiveConnection()
	}
	return direct{client.ActiveConnection()}
}
