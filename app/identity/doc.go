// Package identity tells who a buyer is: the subject of a JSON Web Token (RFC 7519)
// that whoever logs buyers in has signed.
//
// The keys are a JWK Set (RFC 7517) in a file that a [Verifier] follows while it
// runs. There are two kinds:
//
//	{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"…","x":"…","d":"…"}  d only where tokens are made
//	{"kty":"oct","alg":"HS256","kid":"…","k":"…"}                          at least 32 bytes
//
// A key says with which algorithm it is used, so a token that asks for another
// one is refused, "none" before all. A token names its key by kid. Keys are changed
// without a break by having the old and the new one in the file for as long as
// tokens of the old one are about.
//
// [Mint] makes tokens for development and tests, and [NewKey] keys for them.
package identity
