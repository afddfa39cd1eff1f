package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/postgres"
	"github.com/seed-64ad3862/gatehouse/store/redis"
	"github.com/seed-64ad3862/gatehouse/store/sqlite"
	"github.com/seed-64ad3862/gatehouse/throttle"
)

// stores keep everything. What several machines have to know together is in one
// that they share, if there is one.
type stores struct {
	sessions session.Store
	people   account.Store
	log      account.Log
	once     captcha.Once
	throttle throttle.Store
	notes    board // in the store of sessions, if that is not the database
}

// isPostgres reports whether a database is one of PostgreSQL, and not a file.
func isPostgres(database string) bool {
	return strings.HasPrefix(database, "postgres://") || strings.HasPrefix(database, "postgresql://")
}

// share has what machines have to know together kept in Redis.
func (all *stores) share(store *redis.Store) {
	all.sessions, all.once, all.throttle, all.notes = store, store, store.Throttle(), store.Notes()
}

// openDatabase opens the database, with all that it can keep; closing it is left to the
// server.
func (s *server) openDatabase(ctx context.Context) (*stores, error) {
	if isPostgres(s.Database) {
		store, err := s.openPostgres(ctx)
		if err != nil {
			return nil, err
		}
		return &stores{sessions: store, people: store.Accounts(), log: store.Accounts(), once: store, throttle: store.Throttle()}, nil
	}
	store, err := sqlite.Open(ctx, sqlite.Config{Path: s.Database, MaxBytes: int64(s.DatabaseSize), Logger: s.log})
	if err != nil {
		return nil, err
	}
	s.onClose(func() {
		if err := store.Close(); err != nil {
			s.log.Error("the database could not be closed", "error", err)
		}
	})
	return &stores{sessions: store, people: store.Accounts(), log: store.Accounts(), once: store, throttle: store.Throttle()}, nil
}

// plainAddress parses the address of a server. A password in it would be seen in the
// list of processes, and by whoever is shown the settings; it comes from a file.
func plainAddress(setting, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, usageError{fmt.Errorf("--%s is not an address", setting)} // not quoted: there may be a password in it
	}
	_, found := u.User.Password()
	for key := range u.Query() { // sslpassword is one too
		found = found || strings.Contains(strings.ToLower(key), "password")
	}
	if found {
		return nil, usageError{fmt.Errorf("--%s: put the password into a file, and give --%s-password-file", setting, setting)}
	}
	return u, nil
}

// address is that with the password of the file, if there is one.
func address(setting, text, passwordFile string) (*url.URL, error) {
	u, err := plainAddress(setting, text)
	if err != nil || passwordFile == "" {
		return u, err
	}
	secret, err := secretIn(passwordFile)
	if err != nil {
		return nil, fmt.Errorf("--%s-password-file: %w", setting, err)
	}
	u.User = url.UserPassword(u.User.Username(), secret)
	return u, nil
}

// checkStores says what is wrong with the stores' settings, without reaching a server.
func (s *settings) checkStores() error {
	switch {
	case s.Database == "":
		return usageError{errDatabase}
	case s.DatabaseSize != 0 && s.DatabaseSize < minDatabaseSize:
		return usageError{fmt.Errorf("--database-size %v is less than %v", s.DatabaseSize, minDatabaseSize)}
	case isPostgres(s.Database):
		if _, err := s.postgres(); err != nil {
			return err
		}
	case strings.Contains(s.Database, "://"):
		return usageError{errDatabase}
	}
	if s.Sessions == "" {
		return nil
	}
	_, err := s.redis()
	return err
}

// minDatabaseSize holds the tables, and some thousand people.
const minDatabaseSize size = 4 << 20

var errDatabase = errors.New("--database is a file, or postgres://USER@HOST/DATABASE")

func (s *settings) postgres() (*pgxpool.Config, error) {
	u, err := address("database", s.Database, s.DatabasePasswordFile)
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		return nil, usageError{errors.New("--database is not like postgres://USER@HOST/DATABASE")} // the reason may quote the password
	}
	return cfg, nil
}

func (s *settings) redis() (redis.Config, error) {
	u, err := address("sessions", s.Sessions, s.SessionsPasswordFile)
	if err != nil {
		return redis.Config{}, err
	}
	option, err := rueidis.ParseURL(u.String())
	if err != nil {
		return redis.Config{}, usageError{errors.New("--sessions is not like redis://HOST:6379")}
	}
	cfg := redis.Config{Client: option}
	switch cache := u.Query().Get("client_cache"); {
	case cache == "require" && option.AlwaysRESP2:
		return cfg, usageError{errors.New("--sessions: client_cache=require needs RESP3, and protocol=2 is not that")}
	case cache == "require":
		cfg.RequireCache = true
	case cache != "" && cache != "0" && cache != "1":
		return cfg, usageError{errors.New("--sessions: client_cache is 0, 1 or require")}
	}
	return cfg, nil
}

// connectTime is how long a connection to PostgreSQL may take, unless the address says
// otherwise (connect_timeout).
const connectTime = 10 * time.Second

func (s *server) openPostgres(ctx context.Context) (*postgres.Store, error) {
	cfg, err := s.postgres()
	if err != nil {
		return nil, err
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTime
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("--database: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // for migrations, too
	defer cancel()
	store, err := postgres.Open(ctx, postgres.Config{Pool: pool, Logger: s.log})
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("--database: %w", err)
	}
	s.onClose(pool.Close)
	return store, nil
}

func (s *server) openRedis(ctx context.Context) (*redis.Store, error) {
	cfg, err := s.redis()
	if err != nil {
		return nil, err
	}
	cfg.Logger = s.log
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	store, err := redis.Open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("--sessions: %w", err)
	}
	s.onClose(store.Close)
	return store, nil
}

// folder returns a folder that must be there, or nil for none.
func folder(path string) (fs.FS, error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", path)
	}
	return os.DirFS(path), nil
}
