// Package payment tells callbacks of the payment service from anybody else's. A
// callback carries the header
//
//	Seckill-Signature: t=<seconds since 1970>,v1=<hex>
//
// where v1 is the HMAC-SHA256 of the text "<t>.<body>" under a secret that the
// service and this system share. There may be several v1, each under another
// secret: one that fits is enough. What other names stand for is left to the
// future and ignored.
//
// The secrets are in a file, one a line, and the file is followed: to change the
// secret, add the new one, let the service sign with it, remove the old one.
//
// A callback is refused when its time is more than [Tolerance] away from now.
// Within that it may be replayed, by the service, which repeats what was not
// answered, or by somebody who has overheard it. That does no harm: it is the same
// payment reference for the same order, and the order's owner answers it as it did
// the first time, without deciding anything anew. The body is signed, so a replay
// can't be turned into a payment of something else.
package payment
