package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrExposed says that other users of the machine can read or change the database,
// or a file next to it. The error names the command that ends that.
var ErrExposed = errors.New("other users have access")

// companions are the endings of the files that SQLite and this package keep next to a
// database, and read: who can write to one of them can write to the database.
var companions = []string{"-wal", "-shm", "-journal", ".lock"}

// checkPrivate answers ErrExposed unless the database and the files next to it, as far
// as they exist, belong to the user with this ID alone, and no other user can exchange
// them: neither by the folder's mode nor as its owner. SQLite gives the files that it makes the mode and, if it can, the owner of the
// database, so that one that is readable by others makes more of them.
func checkPrivate(path string, uid int) error {
	var e exposure
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	// Group members that can write to it are left alone: on many systems each user
	// has a group.
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		e.faults = append(e.faults, fmt.Sprintf("everyone can exchange files in %s, which has mode %04o", dir, info.Mode().Perm()))
		e.commands = append(e.commands, "chmod o-w "+quote(dir))
	}
	// Root can exchange any file anyway.
	if owner := ownerOf(info); owner != 0 {
		e.owned(dir, owner, uid)
	}
	for _, suffix := range append([]string{""}, companions...) {
		if err := e.file(path+suffix, uid); err != nil {
			return err
		}
	}
	return e.err()
}

// checkSocket is checkPrivate for the socket of a process that has the database.
func checkSocket(path string, uid int) error {
	var e exposure
	if err := e.file(path, uid); err != nil {
		return err
	}
	return e.err()
}

// An exposure collects what is wrong, and the commands that mend it.
type exposure struct {
	faults, commands []string
	own              []string // what others own
	close            []string // what is open to others
	owner            string
	uid              int
}

// file looks at one file, which need not exist.
func (e *exposure) file(path string, uid int) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() == fs.ModeSymlink {
		// Its target may be anywhere, and SQLite and openLock refuse it in other words.
		e.faults = append(e.faults, path+" is a symbolic link")
		command := "rm " + quote(path)
		if target, err := filepath.EvalSymlinks(path); err == nil {
			command = "mv -f " + quote(target) + " " + quote(path)
		}
		e.commands = append(e.commands, command)
		return nil
	}
	e.owned(path, ownerOf(info), uid)
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		e.faults = append(e.faults, fmt.Sprintf("%s has mode %04o", path, mode))
		e.close = append(e.close, quote(path))
	}
	return nil
}

// owned looks at the owner of a file or folder. The owner of a folder can exchange the
// files in it, whatever its mode.
func (e *exposure) owned(path string, owner, uid int) {
	if owner == uid {
		return
	}
	e.owner, e.uid = nameOf(owner), uid
	e.faults = append(e.faults, fmt.Sprintf("%s belongs to %s", path, e.owner))
	e.own = append(e.own, quote(path))
}

func (e *exposure) err() error {
	if len(e.faults) == 0 {
		return nil
	}
	advice := "run: "
	if len(e.own) > 0 {
		command := "chown " + nameOf(e.uid) + " " + strings.Join(e.own, " ")
		if os.Geteuid() == 0 {
			advice = "run this as " + e.owner + ", or, for root to have it, run: "
		} else {
			command = "sudo " + command
		}
		e.commands = append(e.commands, command)
	}
	if len(e.close) > 0 {
		e.commands = append(e.commands, "chmod 600 "+strings.Join(e.close, " "))
	}
	return fmt.Errorf("%w: %s; %s%s", ErrExposed, strings.Join(e.faults, ", "), advice, strings.Join(e.commands, " && "))
}

// nameOf returns the name of a user, or the number where it has none.
func nameOf(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// quote makes a path one word of a shell's command line.
func quote(path string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+,:@%", r)
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path // absolute, so that it is no option
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
