package frozen

// NewSmall makes a reader that keeps few orders.
func NewSmall(r *Reader, most int) *Reader {
	r.most = most
	return r
}
