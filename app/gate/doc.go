// Package gate stands before the buyers' service: every request passes it, and
// those that are to be refused are refused here, without asking the store, the sale
// or another node.
//
// A request gets an id and a line in the access log, and then meets the checks that
// are for its [Kind], in the order that [New] lists them. Each check is a type of its
// own with one method; each decision is counted. What the last check lets pass is
// for the operation.
//
// Most answers of the gate mean that the request was not looked at. Whoever repeats
// a request whose outcome is unknown learns nothing about it from them, and their
// texts say so.
package gate
