package conformance

// concurrency: guarantee 1, with many clients at once.
func concurrency() []Case { return nil }
