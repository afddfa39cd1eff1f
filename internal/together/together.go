// Package together has tests of parts that do not know each other.
package together
