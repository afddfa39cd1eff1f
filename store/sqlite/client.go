package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// A client is a store in another process, reached through its socket.
type client struct {
	http *http.Client
}

// dial returns a client, if somebody listens at the socket.
func dial(ctx context.Context, path string) (*client, error) {
	connect := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", path) }
	probe, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	_ = probe.Close()
	return &client{&http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return connect(ctx) },
		MaxIdleConnsPerHost: 16,
	}}}, nil
}

// Close ends the connections.
func (c *client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// do sends a request. If the answer is an error, it returns that; else the body
// is to be closed.
func (c *client) do(ctx context.Context, method, path string, values url.Values, body []byte) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: "gatehouse", Path: "/v1/" + path, RawQuery: values.Encode()}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(r)
	if err != nil {
		// The address that it would quote has the ID, or a person's name.
		if quoting, ok := errors.AsType[*url.Error](err); ok {
			err = quoting.Err
		}
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	var w wireError
	if err := json.NewDecoder(io.LimitReader(res.Body, maxBody)).Decode(&w); err != nil {
		return nil, fmt.Errorf("sqlite: the socket answers %s: %w", res.Status, err)
	}
	return nil, w.err()
}

// call is do with one object as the answer.
func (c *client) call(ctx context.Context, answer any, method, path string, values url.Values, body []byte) error {
	b, err := c.do(ctx, method, path, values, body)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := json.NewDecoder(b).Decode(answer); err != nil {
		return fmt.Errorf("sqlite: the socket's answer: %w", err)
	}
	return nil
}

func (c *client) record(ctx context.Context, name string) (session.Record, error) {
	var w wireRecord
	if err := c.call(ctx, &w, http.MethodGet, "sessions/"+name, nil, nil); err != nil {
		return session.Record{}, err
	}
	return w.record(), nil
}

// Load implements [session.Store].
func (c *client) Load(ctx context.Context, id session.ID) (session.Record, error) {
	return c.record(ctx, fmt.Sprintf("%x", id))
}

// Find implements [session.Lister].
func (c *client) Find(ctx context.Context, h session.Handle) (session.Record, error) {
	return c.record(ctx, h.String())
}

// Commit implements [session.Store].
func (c *client) Commit(ctx context.Context, id session.ID, d *session.Delta) error {
	if err := d.Validate(); err != nil {
		return err
	}
	body, err := encodeDelta(d)
	if err != nil {
		return fmt.Errorf("sqlite: commit: %w", err)
	}
	return c.call(ctx, &struct{}{}, http.MethodPost, fmt.Sprintf("sessions/%x", id), nil, body)
}

// Delete implements [session.Store].
func (c *client) Delete(ctx context.Context, id session.ID) error {
	return c.call(ctx, &struct{}{}, http.MethodDelete, fmt.Sprintf("sessions/%x", id), nil, nil)
}

// Spend is [Store.Spend].
func (c *client) Spend(ctx context.Context, id [16]byte, until time.Time) (bool, error) {
	var w wireSpent
	values := url.Values{"until": {until.Format(time.RFC3339Nano)}}
	err := c.call(ctx, &w, http.MethodPost, fmt.Sprintf("spent/%x", id), values, nil)
	return w.First, err
}

// Spent is [Store.Spent].
func (c *client) Spent(ctx context.Context, id [16]byte) (bool, error) {
	var w wireSpent
	err := c.call(ctx, &w, http.MethodGet, fmt.Sprintf("spent/%x", id), nil, nil)
	return w.Spent, err
}

// List implements [session.Lister].
func (c *client) List(ctx context.Context, q session.Query) iter.Seq2[session.Record, error] {
	values := url.Values{}
	for name, value := range map[string]string{"owner": q.Owner, "label": q.Label.Name, "value": q.Label.Value} {
		if value != "" {
			values.Set(name, value)
		}
	}
	for name, yes := range map[string]bool{"all": q.All, "signed-in": q.SignedIn, "fields": q.Fields} {
		if yes {
			values.Set(name, "true")
		}
	}
	return c.sessions(ctx, http.MethodGet, "sessions", values)
}

// Sweep implements [session.Sweeper].
func (c *client) Sweep(ctx context.Context) iter.Seq2[session.Record, error] {
	return c.sessions(ctx, http.MethodPost, "sweep", nil)
}

func (c *client) sessions(ctx context.Context, method, path string, values url.Values) iter.Seq2[session.Record, error] {
	type line struct {
		wireRecord
		wireError
	}
	return lines(ctx, c, method, path, values, func(l *line) (session.Record, error) { return l.record(), l.err() })
}

// lines yields what read makes of each line of an answer.
func lines[L, T any](ctx context.Context, c *client, method, path string, values url.Values, read func(*L) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		body, err := c.do(ctx, method, path, values, nil)
		if err != nil {
			yield(none, err)
			return
		}
		defer body.Close()
		for dec := json.NewDecoder(body); ; {
			var l L
			err := dec.Decode(&l)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(none, fmt.Errorf("sqlite: the socket's answer: %w", err))
				return
			}
			item, err := read(&l)
			if err != nil {
				yield(none, err)
				return
			}
			if !yield(item, nil) {
				return
			}
		}
	}
}
