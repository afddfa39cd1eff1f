package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
)

// Accounts returns the people of the database.
func (c *client) Accounts() Accounts { return remoteAccounts{c} }

// remoteAccounts are accounts in another process.
type remoteAccounts struct{ c *client }

// Get implements [account.Store].
func (a remoteAccounts) Get(ctx context.Context, key string) (account.Record, error) {
	var w wireAccount
	if err := a.c.call(ctx, &w, http.MethodGet, "account", url.Values{"key": {key}}, nil); err != nil {
		return account.Record{}, err
	}
	return w.record(), nil
}

// Put implements [account.Store].
func (a remoteAccounts) Put(ctx context.Context, r account.Record) error {
	own, err := checked(r) // here, since JSON would replace what is not UTF-8
	if err != nil {
		return failAccount("put", err)
	}
	body, err := json.Marshal(accountToWire(&own))
	if err != nil {
		return failAccount("put", err)
	}
	return a.c.call(ctx, &struct{}{}, http.MethodPost, "account", nil, body)
}

// Delete implements [account.Store].
func (a remoteAccounts) Delete(ctx context.Context, id string, version int64) error {
	values := url.Values{"id": {id}, "version": {strconv.FormatInt(version, 10)}}
	return a.c.call(ctx, &struct{}{}, http.MethodDelete, "account", values, nil)
}

// List implements [account.Store].
func (a remoteAccounts) List(ctx context.Context, prefix, after string) iter.Seq2[account.Found, error] {
	type line struct {
		wireFound
		wireError
	}
	values := url.Values{"prefix": {prefix}, "after": {after}}
	return lines(ctx, a.c, http.MethodGet, "accounts", values, func(l *line) (account.Found, error) { return l.found(), l.err() })
}

// Append implements [account.Log].
func (a remoteAccounts) Append(ctx context.Context, e account.Entry) error {
	body, err := json.Marshal(&e)
	if err != nil {
		return fmt.Errorf("sqlite: append: %w", err)
	}
	return a.c.call(ctx, &struct{}{}, http.MethodPost, "log", nil, body)
}

// Entries implements [account.Log].
func (a remoteAccounts) Entries(ctx context.Context, q account.LogQuery) iter.Seq2[account.Entry, error] {
	type line struct {
		account.Entry
		wireError
	}
	return lines(ctx, a.c, http.MethodGet, "log", encodeLogQuery(&q), func(l *line) (account.Entry, error) { return l.Entry, l.err() })
}

// Trim implements [account.Log].
func (a remoteAccounts) Trim(ctx context.Context, before time.Time) (int, error) {
	var w wireTrimmed
	err := a.c.call(ctx, &w, http.MethodDelete, "log", url.Values{"before": {before.Format(time.RFC3339Nano)}}, nil)
	return w.Removed, err
}
