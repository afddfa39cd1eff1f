// Package reach tells errors of connecting to a server that pass from those that stay.
package reach

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
)

// Passing reports whether an error may be gone when the same connection is tried later:
// the server or its name is not there, it does not answer in time, or it has broken off.
// Errors of TLS are none of these: certificates and settings do not mend themselves. Nor
// is one that is not known here.
func Passing(err error) bool {
	if ofTLS(err) {
		return false
	}
	var broken net.Error // *net.OpError and *net.DNSError among them
	return errors.As(err, &broken) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
}

// ofTLS reports whether the two ends do not agree on TLS, or one does not believe the
// other's certificate. Of several errors, those of a server with several addresses say,
// one is enough.
func ofTLS(err error) bool {
	for err != nil {
		switch e := err.(type) { //nolint:errorlint // what they wrap is looked at next
		case interface{ Unwrap() []error }:
			return slices.ContainsFunc(e.Unwrap(), ofTLS)
		case *net.OpError:
			if e.Op == "remote error" || e.Op == "local error" { // an alert
				return true
			}
		case tls.RecordHeaderError, *tls.CertificateVerificationError, x509.HostnameError, x509.UnknownAuthorityError, x509.CertificateInvalidError:
			return true
		}
		err = errors.Unwrap(err)
	}
	return false
}
