// Package access says who may do what with the admin service: users and their
// passwords, API tokens, sessions of the console, and the middleware that holds
// requests to them. docs/admin-access.md is the operators' side of it.
//
// All of it is in the store, one key for each user, token and session, and every
// admin follows all of them. So a request costs no read of the store, and what one
// admin changes holds on the others as soon as their watches tell them.
//
// # What a copy may decide
//
// A copy is always a little behind. That it lets somebody in is taken as it is,
// as long as the store has confirmed the copy within the last minute; after that
// nobody is let in. That it lets somebody out is not: the session may have been made
// elsewhere a moment ago. So a refusal is confirmed by the store itself, up to a rate
// for each client.
//
// # Why there is always an admin
//
// A write changes one key, but may be conditioned on others. Whatever takes the
// role of an admin away is conditioned on the record of another one, the witness,
// being as it was read: an admin. Of two such writes at once that name each other
// as witness the second one fails. After each that succeeds its witness is there.
package access
