package tornado

import (
	"crypto/sha512"
	"encoding/hex"
)

// StaticVersion returns the version of a static file: the SHA-512 of its content
// in hexadecimal. Keep it, rather than hash the file for each page.
func StaticVersion(content []byte) string {
	sum := sha512.Sum512(content)
	return hex.EncodeToString(sum[:])
}

// StaticURL returns what Tornado's static_url does: the prefix (static_url_prefix,
// with its slashes), the path as it stands, and unless it is empty the version.
//
// An answer may be kept for ever only where the v that was asked for is the
// version of what is sent. Tornado does not compare them, and so lets an address
// from before a change fill caches with what came after it.
func StaticURL(prefix, path, version string) string {
	if version == "" {
		return prefix + path
	}
	return prefix + path + "?v=" + version
}
