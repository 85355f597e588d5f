package settings

// Keys lists the keys that files may have.
func Keys() []string {
	var keys []string
	for _, k := range known() {
		keys = append(keys, k.key)
	}
	return keys
}
