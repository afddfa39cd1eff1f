package session

// MergeFields returns fields with those in set put in or replaced and those
// named in remove taken out, for stores that keep records whole. What it is
// given is not changed.
func MergeFields(fields, set []Field, remove []string) []Field {
	if len(set) == 0 && len(remove) == 0 {
		return fields
	}
	var inSet, inRemove index[Field]
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

// An index finds fields or labels by their names in a slice that only grows;
// another array makes another index. A few are looked through; more get a map, so
// that a request with many does not take the square of their number.
type index[E interface{ name() string }] struct {
	of *E             // the first of those that are in by
	by map[string]int // nil while there are few
}

func (f Field) name() string { return f.Key }
func (l Label) name() string { return l.Name }

// few is how many are faster to look through than to hash.
const few = 16

// find returns the place of the one of this name, -1 if there is none.
func (x *index[E]) find(list []E, name string) int {
	if len(list) <= few {
		for i := range list {
			if list[i].name() == name {
				return i
			}
		}
		return -1
	}
	if x.of != &list[0] {
		x.of, x.by = &list[0], make(map[string]int, len(list))
	}
	for i := len(x.by); i < len(list); i++ {
		x.by[list[i].name()] = i
	}
	if i, ok := x.by[name]; ok {
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
	var inSet index[Label]
	for _, l := range labels {
		if inSet.find(set, l.Name) < 0 {
			merged = append(merged, l)
		}
	}
	for _, l := range set {
		if l.Value != "" {
			merged = append(merged, l)
		}
	}
	return merged
}
