package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A socket is where the commands reach the process that has the database.
type socket struct {
	path    string
	server  *http.Server
	serving sync.WaitGroup
}

func socketPath(database string) string { return database + ".sock" }

// maxSocketPath is what every system takes: sockaddr_un has 104 bytes on BSD and
// macOS, 108 on Linux, with a zero at the end.
const maxSocketPath = 103

// listen serves the store on a socket beside the database. One that a process
// left there that was killed is replaced: whoever has the lock owns it.
func listen(s *Store) (*socket, error) {
	path := socketPath(s.path)
	// It is made in a folder that nobody else can enter, so that there is no
	// moment in which others may connect, whatever the umask is.
	dir := path + ".new"
	made := filepath.Join(dir, "s")
	if len(made) > maxSocketPath {
		return nil, fmt.Errorf("the path %s is too long for a socket by %d bytes", made, len(made)-maxSocketPath)
	}
	// What is not of a process that was killed is somebody's.
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s is there, and is no socket", path)
	}
	if info, err := os.Lstat(made); err == nil && info.Mode().Type() == fs.ModeSocket {
		_ = os.Remove(made)
	}
	_ = os.Remove(dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	defer os.Remove(dir)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: made})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it gets another name
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, path)); err != nil {
		_ = l.Close()
		_ = os.Remove(made)
		return nil, err
	}
	k := &socket{path: path, server: &http.Server{
		Handler:           handler(s),
		ReadHeaderTimeout: callTime,
		IdleTimeout:       4 * callTime,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}}
	k.serving.Go(func() { _ = k.server.Serve(l) })
	return k, nil
}

// close lets calls that are under way end, for a moment.
func (k *socket) close() {
	_ = os.Remove(k.path)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if k.server.Shutdown(ctx) != nil {
		_ = k.server.Close()
	}
	k.serving.Wait()
}
