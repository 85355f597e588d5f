// Package record is how a sale is written down in the store: the keys, and what
// is under them. It decides nothing. The engine that sells and the checker that
// does not trust it share this package and no other.
//
//	events/<id>                      an Event: what is sold, when, how much
//	sales/<id>/pool                  the Pool: units that no slot has been granted
//	sales/<id>/slots/<k>             a Slot: who decides for this part of the buyers
//	sales/<id>/log/<k>/<epoch>-<seq> a Batch: what was decided, never rewritten
//
// Records that people look at are JSON; batches, of which there are many, are
// binary. All are read strictly: what is not understood in full is an error that
// names the key and what was expected, and never a part of the truth.
package record
