package metaapi

import "strings"

// CommonPrefix returns the prefix that key folds into: key up to the end of
// the first delimiter after prefix, or false when key does not contain it.
// Key must have prefix.
func CommonPrefix(key, prefix, delimiter string) (string, bool) {
	if delimiter == "" {
		return "", false
	}
	i := strings.Index(key[len(prefix):], delimiter)
	if i < 0 {
		return "", false
	}
	return key[:len(prefix)+i+len(delimiter)], true
}

// After returns the first string above every string that starts with prefix,
// or false when there is none.
func After(prefix string) (string, bool) {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1}), true
		}
	}
	return "", false
}

// Start is the first (Key, Sub) that a scan of r considers, inclusive; false
// when nothing can be left to scan.
func (r *Range) Start() (key, sub string, ok bool) {
	key, sub = r.FromKey, r.FromSub
	if r.FromExcluded {
		sub += "\x00"
		p, folds := "", false
		if strings.HasPrefix(key, r.Prefix) {
			p, folds = CommonPrefix(key, r.Prefix, r.Delimiter)
		}
		if folds && p == key {
			if key, ok = After(key); !ok {
				return "", "", false
			}
			sub = ""
		}
	}
	if low := max(r.Prefix, r.Key); key < low {
		key, sub = low, ""
	}
	return key, sub, strings.HasPrefix(key, r.Prefix)
}

// compare orders rows within a table and bucket.
func compare(key, sub, otherKey, otherSub string) int {
	if c := strings.Compare(key, otherKey); c != 0 {
		return c
	}
	return strings.Compare(sub, otherSub)
}

// directed is a comparison for an order that ascends, or descends.
func directed(c int, reverse bool) int {
	if reverse {
		return -c
	}
	return c
}

// halfOpen is what From and To say of names with a prefix, in either direction:
// those from low on and before high, where an empty high is no bound. It is
// false when there can be none.
func halfOpen(prefix, from, to string, reverse bool) (low, high string, some bool) {
	low, high = from, to
	if reverse {
		low, high = "", ""
		if to != "" {
			low = to + "\x00"
		}
		if from != "" {
			high = from + "\x00"
		}
	}
	low = max(low, prefix)
	if behind, bounded := After(prefix); bounded && (high == "" || behind < high) {
		high = behind
	}
	return low, high, high == "" || low < high
}
