// Package rpc is how processes ask the owners of slots that are elsewhere.
//
// Between two processes there is one stream, on which whatever questions there
// are at a moment go together, and answers come back as they are decided, many
// at once when there are many. A question is for one incarnation of a process, and
// any other refuses it.
//
//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative slots.proto
package rpc
