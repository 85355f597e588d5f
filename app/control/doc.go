// Package control is what operators tell one process of a cluster, and no other: a
// config for debugging, or to load a source again. It is gRPC, on the port where
// processes reach each other, and as safe as that is.
//
//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative control.proto
package control
