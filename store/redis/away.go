package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/internal/reach"
)

// What [Open] has found where a connection was closed without a word, or was silent.
var (
	errTLS   = errors.New("the server speaks TLS: the address begins with rediss://")
	errNoTLS = errors.New("the server does not speak TLS: the address begins with redis://")
)

// Away reports whether an error, of [Open] or of any method, says that the server cannot
// be reached or does not serve now: it is down, loading its data, about to be replaced,
// out of connections, or refuses writes until it has its replicas or can save to disk.
// Waiting may mend that. It mends no wrong password, no missing right, no database that
// does not exist, no full memory, and no disagreement about TLS.
func Away(err error) bool {
	if said, ok := errors.AsType[*rueidis.RedisError](err); ok {
		return refused(said) || refusesWrites[firstWord(said.Error())] || strings.HasPrefix(said.Error(), "ERR max number of clients")
	}
	switch {
	case errors.Is(err, errTLS), errors.Is(err, errNoTLS):
		return false
	case errors.Is(err, rueidis.ErrNoSlot), errors.Is(err, errBusy):
		return true
	}
	return reach.Passing(err)
}

// refusesWrites are the words with which a server refuses all writes for now. Calls are
// not tried again for them, since replicas and disks take longer to come back than a call
// lasts.
var refusesWrites = map[string]bool{
	"NOREPLICAS": true, // min-replicas-to-write
	"MISCONF":    true, // the last snapshot or write to the append-only file failed
}

// explained returns the error of a connection that could not be made, or says that the
// two ends do not agree on TLS. A server that wants it closes a connection which begins
// otherwise, as one that is ending would; one that knows nothing of it waits for the rest
// of a command, as if it were busy.
func explained(ctx context.Context, opt rueidis.ClientOption, err error) error {
	if !reach.Passing(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, defaultDialTimeout)
	defer cancel()
	for _, addr := range opt.InitAddress {
		switch {
		case opt.TLSConfig == nil && speaksTLS(ctx, addr):
			return errTLS
		case opt.TLSConfig != nil && speaksPlainly(ctx, addr):
			return errNoTLS
		}
	}
	return err
}

// speaksTLS asks a server whether it does. Whose certificate it has is of no matter
// here: nothing is sent.
func speaksTLS(ctx context.Context, addr string) bool {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // see above
	c, err := d.DialContext(ctx, "tcp", addr)
	if err == nil {
		_ = c.Close()
		return true
	}
	alert, ok := errors.AsType[*net.OpError](err)
	return ok && alert.Op == "remote error"
}

// speaksPlainly asks a server whether it answers without TLS, if only to say that it
// wants a password, which it is not sent.
func speaksPlainly(ctx context.Context, addr string) bool {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer c.Close()
	if end, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(end)
	}
	answer := make([]byte, 1)
	_, err = io.WriteString(c, "PING\r\n")
	if err == nil {
		_, err = io.ReadFull(c, answer)
	}
	return err == nil && (answer[0] == '+' || answer[0] == '-')
}
