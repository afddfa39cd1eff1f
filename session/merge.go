package session

// MergeFields returns fields with those in set put in or replaced and those
// named in remove taken out, for stores that keep records whole. What it is
// given is not changed.
func MergeFields(fields, set []Field, remove []string) []Field {
	if len(set) == 0 && len(remove) == 0 {
		return fields
	}
	merged := make([]Field, 0, len(fields)+len(set))
old:
	for _, f := range fields {
		for _, n := range set {
			if n.Key == f.Key {
				continue old
			}
		}
		for _, key := range remove {
			if key == f.Key {
				continue old
			}
		}
		merged = append(merged, f)
	}
	return append(merged, set...)
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
