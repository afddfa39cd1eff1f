// Package sqlite keeps sessions and people in one file, in the process that serves
// them: the store for one machine, with no server beside it.
//
//	store, err := sqlite.Open(ctx, sqlite.Config{Path: "/var/lib/app/sessions.db"})
//	…
//	defer store.Close()
//	sessions, err := session.New(session.Config{Store: store})
//	people, err := account.New(account.Config{Store: store.Accounts()})
//
// # What it promises
//
// A write that has been answered is on disk: WAL with synchronous=FULL, and on
// macOS F_FULLFSYNC. The process may be killed at any moment; the next one has
// everything that was answered, and of what was under way each write as a whole or
// not at all. A write that was answered with the error of the caller's context may
// be committed too: the writer does not stop in the middle of a transaction for one
// of those who share it.
//
// Writes that wait are committed together by one goroutine, since it is the disk
// that takes the time: many at once are as durable as one, and take hardly longer.
// Hot sessions are read from memory. That is right because this process alone has
// the file: a second one is refused with [ErrInUse], by a lock that ends with the
// process however it ends. Nobody else may write to its tables while a store has
// them; to read them with another program is harmless.
//
// # When the disk is full
//
// A flood of visitors does not keep users out. Sessions without an owner fill half of the
// disk at most, and with [Config.MaxBytes] that file but for a sixteenth (4 MB at most).
// Beyond that they give way to new ones, and to users: first those that are over, then those
// that have not been used for two minutes, then those not used for longest, whatever their
// age. Which these are is looked up among the 64 with the nearest deadlines. So a sign-in gets
// the session that it needs for its second step, and keeps it until as many others have
// come as there is space for. [Store.Sweep] yields those that gave way.
//
// Small ones, of 2 KB at most with 400 bytes for the session itself, are never refused while
// users are not. Larger ones are refused with [session.ErrFull] where even so there is no
// space, since users take it. The last 64 give way only when they are not in use; where users
// or other files take all the space, these 64 are all there are.
//
// When other files have filled the disk, all that users need is still written, out of
// pages that are free and of a reserve: an eighth of the disk, and at most 4 MB, which are
// kept in the file that ends in .lock. It also makes sure that the WAL can be copied,
// without which not even a sweep could write, and that the database can be opened. Only
// when that is used up too are users refused, with [session.ErrFull] or [account.ErrFull]. A
// quota, and a limit on the size of files, count as a full disk; the error then has what the
// system said, too.
// Reads go on, sweeps make space, and when the disk has space again, which is seen by a
// write or by the next sweep, all is as before. Two things are not provided for: an upgrade
// of the database needs space of its own, and a program that reads in one transaction for
// hours keeps the WAL from being copied.
//
// # Where to put it
//
// On a disk of this machine, in a folder that nobody else can write to: WAL does
// not work over a network, and who can write to the folder can exchange the file.
// The files are made readable by their owner alone (mode 0600). A database that
// other users can read or write, that another user owns, or that lies in a folder
// where everyone can exchange files, or that another user than root owns, is refused with [ErrExposed] and the command
// that mends it; so are the files next to it. Root is refused a file of another user
// too, since it would leave files there that the user's own server cannot open: run
// the command as that user. An application's own database, [Config.DB], is only
// warned about. The files hold what the
// sessions hold, in the clear, but no cookie can be made of them: an ID is the
// SHA-256 of one. Of people they hold hashes of passwords, and in the clear the
// secrets of authenticators: who reads a copy can make their codes. Values of
// sessions that have ended are overwritten where SQLite writes to their page anyway
// (secure_delete=FAST), which is not everywhere.
//
// For a backup, copy the file when the store is closed, or have SQLite do it
// meanwhile, which makes a file that others can read unless the umask is set:
//
//	(umask 077 && sqlite3 sessions.db ".backup copy.db")
//
// Copying an open database's
// file misses what is in the -wal file beside it. The file never shrinks by
// itself, and room of sessions that have ended is used again; set
// [Config.MaxBytes] where other programs need the disk.
//
// It runs on Linux, macOS and the BSDs. Elsewhere Open answers
// [errors.ErrUnsupported].
//
// # Looking inside
//
// The schema is in the migrations folder of this package, and in the database:
//
//	SELECT printf('%016x', handle), owner, datetime(seen / 1000, 'unixepoch'),
//		json_extract(json_extract(data, '$.name'), '$')
//	FROM gatehouse_session;
//
// Two steps lead to a value, since its text is kept to the byte: data is an object
// of strings, each of which is JSON text. People are JSON too, but for the keys to
// them, which are bytes:
//
//	SELECT id, version, CAST(data AS TEXT)
//	FROM gatehouse_account_key JOIN gatehouse_account ON number = account
//	WHERE key = CAST('name/alex' AS BLOB);
//
//	SELECT datetime(time / 1000000, 'unixepoch'), kind, name, addr
//	FROM gatehouse_log ORDER BY number DESC LIMIT 20;
//
// # Commands
//
// While a store has the file, commands reach it through a Unix socket beside it,
// the same name with .sock and mode 0600; [Connect] does so, or opens the file
// itself when no process has it. It speaks HTTP and JSON, so that curl does:
//
//	curl --unix-socket sessions.db.sock 'http://localhost/v1/sessions?owner=alex'
//
//	GET    /v1/sessions    owner=O, or label=N and value=V, or both; or all=true; or
//	                       signed-in=true, for those of users, with label and value
//	                       too; fields=true for the values: a session on each line
//	GET    /v1/sessions/S  one session with its values; S is an ID or a handle
//	POST   /v1/sessions/S  changes it: a [session.Delta] as create, rename, if, set,
//	                       delete, seen, idle, expires, restart, owner, labels
//	DELETE /v1/sessions/S  ends it
//	POST   /v1/sweep       removes what is over: a session on each line
//	GET    /v1/spent/I     whether a challenge is spent, POST with until=T spends it
//	GET    /v1/accounts    the keys that begin with prefix=P and come after=K, each
//	                       with its record: one on each line
//	GET    /v1/account     the record with key=K: id, keys, version and data
//	POST   /v1/account     stores such a record, a new one if version is 0 or missing
//	DELETE /v1/account     removes the one with id=I and version=V
//	GET    /v1/log         what has happened, the newest first: an [account.Entry] on
//	                       each line, of person=I, kind=K, since=T, before=N
//	POST   /v1/log         appends an entry; its number is the log's to give
//	POST   /v1/throttle    counts attempts: take, used, give and fill are lists of
//	                       buckets, forget is an account; see [throttle.Store]
//	DELETE /v1/log         removes entries from before=T: answers removed, how many
//
// if, set, labels and fields are objects of strings, times are RFC 3339, idle is as
// in 30m0s, data in base64. An error is an object with error, a word, and text, and
// with taken, the key, if a key is another's; where a listing ends with one, it is
// the last line. Who can open the socket may do all of this, and so make themselves
// an administrator: its mode is the only protection.
package sqlite
