package rpc

import "sync"

// An item says how much of a message it takes: one, and one more for each order in it,
// or for what takes as much.
type item interface{ weight() int }

func (q *Question) weight() int { return 1 }

func (a *Answer) weight() int {
	return 1 + len(a.GetOrders()) + len(a.GetBuyers().GetHashes())/hashesInOrder
}

// hashesInOrder is how many hashes take as much of a message as an order.
const hashesInOrder = 64

// An outbox gathers what is to be sent while something is being sent.
type outbox[T item] struct {
	mu     sync.Mutex
	filled sync.Cond
	items  []T
	closed bool
}

func newOutbox[T item]() *outbox[T] {
	o := &outbox[T]{}
	o.filled.L = &o.mu
	return o
}

// add adds an item; false if nothing is sent any more.
func (o *outbox[T]) add(item T) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.items = append(o.items, item)
	o.filled.Signal()
	return true
}

// close ends drain when everything was sent.
func (o *outbox[T]) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.filled.Signal()
}

// drain sends whatever there is, together, until the outbox is closed or send
// fails.
func (o *outbox[T]) drain(send func([]T) error) error {
	for {
		items, ok := o.take()
		if !ok {
			return nil
		}
		if err := send(items); err != nil {
			o.close()
			return err
		}
	}
}

// most bounds what goes into one message, unless one item has more. It is some 500 kB.
const most = 1000

func (o *outbox[T]) take() ([]T, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.items) == 0 && !o.closed {
		o.filled.Wait()
	}
	if len(o.items) == 0 {
		return nil, false
	}
	n, weight := 1, o.items[0].weight()
	for n < len(o.items) && weight+o.items[n].weight() <= most {
		weight += o.items[n].weight()
		n++
	}
	items := o.items[:n]
	o.items = o.items[n:]
	return items, true
}
