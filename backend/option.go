package backend

import (
	"fmt"
	"reflect"
)

// A PutOption qualifies a Put: see [If] and [WithLease].
type PutOption interface {
	applyPut(*PutOptions)
}

// PutOptions is the sum of the options of one Put, for drivers.
type PutOptions struct {
	Lease      Lease // nil: the key hangs on no lease
	Conditions []Condition

	err error
}

// A Condition holds if Key has exactly Revision; 0 means that it must not
// exist. It is an option of Put and an argument of Delete.
type Condition struct {
	Key      string
	Revision Revision
}

// If makes a write depend on the revision of a key, its own or any other. It
// may be given up to [MaxConditions] times; all conditions must hold.
func If(key string, rev Revision) Condition { return Condition{Key: key, Revision: rev} }

func (c Condition) applyPut(o *PutOptions) { o.Conditions = append(o.Conditions, c) }

// WithLease hangs the key on a lease of the same store, taking it off any
// other. A lease that has ended makes the Put fail with ErrLeaseLost, a lease
// of another store with ErrInvalid.
func WithLease(l Lease) PutOption { return leaseOption{l} }

type leaseOption struct{ lease Lease }

func (w leaseOption) applyPut(o *PutOptions) {
	switch {
	case isNil(w.lease):
		o.err = fmt.Errorf("%w: WithLease(nil)", ErrInvalid)
	case o.Lease != nil:
		o.err = fmt.Errorf("%w: a key hangs on one lease, WithLease was given twice", ErrInvalid)
	default:
		o.Lease = w.lease
	}
}

// ResolvePut checks the arguments of a Put as every driver must, and sums up
// its options. Errors: ErrInvalid, ErrTooLarge.
func ResolvePut(key string, value []byte, opts ...PutOption) (PutOptions, error) {
	var o PutOptions
	if err := CheckKey(key); err != nil {
		return o, err
	}
	if err := CheckValue(key, value); err != nil {
		return o, err
	}
	for _, opt := range opts {
		if isNil(opt) {
			return o, fmt.Errorf("%w: nil option for Put of %q", ErrInvalid, key)
		}
		opt.applyPut(&o)
	}
	if o.err != nil {
		return o, o.err
	}
	return o, checkConditions(o.Conditions)
}

// isNil reports whether there is nothing in an interface, or only a nil pointer,
// which a comparison with nil does not tell.
func isNil(v any) bool {
	p := reflect.ValueOf(v)
	return !p.IsValid() || p.Kind() == reflect.Pointer && p.IsNil()
}

// CheckDelete checks the arguments of a Delete as every driver must. Errors:
// ErrInvalid, ErrTooLarge.
func CheckDelete(key string, conds []Condition) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	return checkConditions(conds)
}
