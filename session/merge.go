package session

// MergeFields returns fields with those in set put in or replaced and those
// named in remove taken out, for stores that keep records whole. What it is
// given is not changed.
func MergeFields(fields, set []Field, remove []string) []Field {
	if len(set) == 0 && len(remove) == 0 {
		return fields
	}
	var inSet, inRemove fieldIndex
	removed := make([]Field, len(remove))
	for i, key := range remove {
		removed[i].Key = key
	}
	merged := make([]Field, 0, len(fields)+len(set))
	for _, f := range fields {
		if inSet.find(set, f.Key) < 0 && inRemove.find(removed, f.Key) < 0 {
			merged = append(merged, f)
		}
	}
	return append(merged, set...)
}

// A fieldIndex finds fields by their keys in a slice that only grows; another
// array makes another index. A few fields are looked through; more get a map, so
// that a request with many keys does not take the square of their number.
type fieldIndex struct {
	of *Field         // the first of those that are in by
	by map[string]int // nil while there are few
}

// few is how many fields are faster to look through than to hash.
const few = 16

// find returns the place of the field with this key, -1 if there is none.
func (x *fieldIndex) find(fields []Field, key string) int {
	if len(fields) <= few {
		for i := range fields {
			if fields[i].Key == key {
				return i
			}
		}
		return -1
	}
	if x.of != &fields[0] {
		x.of, x.by = &fields[0], make(map[string]int, len(fields))
	}
	for i := len(x.by); i < len(fields); i++ {
		x.by[fields[i].Key] = i
	}
	if i, ok := x.by[key]; ok {
		return i
	}
	return -1
}

// MergeLabels returns labels with those in set put in or replaced; one with an
// empty value is taken out. What it is given is not changed.
func MergeLabels(labels, set []Label) []Label {
	if len(set) == 0 {
		return labels
	}
	var merged []Label
old:
	for _, l := range labels {
		for _, n := range set {
			if n.Name == l.Name {
				continue old
			}
		}
		merged = append(merged, l)
	}
	for _, l := range set {
		if l.Value != "" {
			merged = append(merged, l)
		}
	}
	return merged
}
