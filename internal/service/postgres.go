package service

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// A PostgresServer is a PostgreSQL, or a PgBouncer in front of one.
type PostgresServer struct {
	*Server
}

// URL says how to connect, as somebody who may do everything.
func (p *PostgresServer) URL() string {
	return "postgres://gatehouse@" + p.Addr + "/gatehouse?sslmode=disable"
}

// where PostgreSQL's programs are if not in PATH.
var postgresFolders = []string{
	"/usr/lib/postgresql/*/bin", // Debian
	"/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin",
}

// Postgres starts a PostgreSQL with an empty database. What it acknowledges
// survives its own end but not the machine's, unless the settings, such as
// "fsync=on", say otherwise.
func Postgres(t T, settings ...string) *PostgresServer {
	t.Helper()
	program := func(name string) string { return find(t, name, postgresFolders...) }
	psql := program("psql")
	s := &Server{
		name: program("postgres"),
		as:   notRoot(t),
		args: func(port string) []string {
			args := []string{"-D", "data", "-p", port}
			for _, setting := range append([]string{
				"listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=200",
			}, settings...) {
				args = append(args, "-c", setting)
			}
			return args
		},
		ready: func(ctx context.Context, s *Server) error {
			// To a fresh folder nobody but this template is known.
			return exec.CommandContext(ctx, psql, "-h", "127.0.0.1", "-p", s.port(), "-U", "gatehouse", "-c", "select 1", "template1").Run()
		},
		stop: syscall.SIGINT, kill: syscall.SIGQUIT, child: true,
	}
	s.launch(t)
	run(t, s.as, s.Dir, program("initdb"), "-D", "data", "-U", "gatehouse", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	s.open()
	run(t, s.as, s.Dir, program("createdb"), "-h", "127.0.0.1", "-p", s.port(), "-U", "gatehouse", "gatehouse")
	return &PostgresServer{s}
}

// PgBouncer starts a PgBouncer in front of the server, with that mode of
// pooling: "transaction", say.
func PgBouncer(t T, pg *PostgresServer, mode string) *PostgresServer {
	t.Helper()
	s := &Server{
		name: find(t, "pgbouncer", "/usr/sbin"),
		as:   notRoot(t),
		args: func(port string) []string {
			return []string{"-q", "pgbouncer.ini"}
		},
		stop: syscall.SIGINT, kill: syscall.SIGKILL,
	}
	psql := find(t, "psql", postgresFolders...)
	s.ready = func(ctx context.Context, s *Server) error {
		return exec.CommandContext(ctx, psql, "-h", "127.0.0.1", "-p", s.port(), "-U", "gatehouse", "-c", "select 1", "gatehouse").Run()
	}
	s.launch(t)
	if err := os.WriteFile(filepath.Join(s.Dir, "users"), []byte(`"gatehouse" ""`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := s.args
	s.args = func(port string) []string {
		conf := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%s\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port=%s\nunix_socket_dir=\nauth_type=trust\nauth_file=users\npool_mode=%s\nmax_client_conn=500\ndefault_pool_size=20\nignore_startup_parameters=extra_float_digits\n", pg.port(), port, mode)
		if err := os.WriteFile(filepath.Join(s.Dir, "pgbouncer.ini"), []byte(conf), 0o644); err != nil {
			t.Fatal(err)
		}
		return args(port)
	}
	s.open()
	return &PostgresServer{s}
}
