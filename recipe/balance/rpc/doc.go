// Package rpc makes gRPC clients that send each RPC to one of the nodes that
// are registered: a resolver for targets like "seckill:///api", and balancers
// for the policies of package balance.
//
//	rpc.Register() // once, in main
//	conn, err := grpc.NewClient("seckill:///api",
//		grpc.WithResolvers(rpc.NewResolver(map[string]*balance.Cluster{"api": cluster})),
//		grpc.WithDefaultServiceConfig(rpc.ServiceConfig(balance.PeakEWMA, "shop.Stock")),
//		grpc.WithTransportCredentials(…))
//
// The resolver belongs to the client it is given to. Balancers are another
// matter: gRPC looks them up by name in a table of its own, which is for the
// program to fill; nothing here does so by being imported.
//
// A node that drains, stops or is lost leaves the resolver's addresses; RPCs
// under way there go on, new ones go elsewhere. RPCs that a server refuses
// because it is stopping are sent again by gRPC itself, since it knows that they
// were not begun; those that were cut off are sent again as the service config
// says. With both no RPC is lost while nodes are restarted one by one.
//
// An RPC's response time, for [balance.PeakEWMA], is the time until it is over.
// For streams that says nothing: take another policy for services of long ones.
package rpc
