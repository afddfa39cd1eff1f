package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/password"
)

// announced is what commands have to know of the server they are for: where it is,
// and which passwords can be chosen there.
type announced struct {
	PublicURL      string `json:"public_url"`
	Site           string `json:"site"`
	PasswordLength int    `json:"password_length"`
}

// announcement is the record in which it is.
const announcement = "serve/announced"

func (a *announced) policy() password.Policy {
	host := ""
	if u, err := url.Parse(a.PublicURL); err == nil {
		host = u.Hostname()
	}
	return password.Policy{Length: a.PasswordLength, Names: []string{a.Site, host}}
}

// announce leaves it for commands. Of several machines, which have the same settings,
// any may be the last.
func (a *announced) announce(ctx context.Context, records account.Store) error {
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return save(ctx, records, announcement, data)
}

// save sets the data of a record, which may exist. If several callers save at once, any of
// them may be the last.
func save(ctx context.Context, records account.Store, id string, data []byte) error {
	for range 10 {
		r, err := records.Get(ctx, id)
		switch {
		case errors.Is(err, account.ErrNotFound):
			r = account.Record{ID: id}
		case err != nil:
			return err
		case bytes.Equal(r.Data, data):
			return nil
		}
		r.Data = data
		err = records.Put(ctx, r)
		if _, raced := errors.AsType[*account.TakenError](err); err == nil || !raced && !errors.Is(err, account.ErrConflict) {
			return err
		}
	}
	return nil // the others are as good
}

// hear returns what the server has left, or what one without settings would.
func hear(ctx context.Context, records account.Store) (announced, error) {
	a := announced{PublicURL: "http://localhost:9000", Site: "Gatehouse"}
	r, err := records.Get(ctx, announcement)
	if errors.Is(err, account.ErrNotFound) {
		return a, nil
	}
	if err == nil {
		err = json.Unmarshal(r.Data, &a)
	}
	return a, err
}
