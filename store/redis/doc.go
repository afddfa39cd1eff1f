// Package redis keeps sessions in Redis 7, or Valkey, on a single server, behind
// Sentinel, or in a Cluster: for applications of which several run side by side.
//
//	opt, err := rueidis.ParseURL("rediss://gatehouse:password@redis.example:6379")
//	store, err := redis.Open(ctx, redis.Config{Client: opt})
//	sessions, err := session.New(session.Config{Store: store})
//
// Each change of a session is one script on one key, which the server runs alone:
// of requests on many machines none loses what another stored, none brings a
// session back that has ended, and of two that would change the same value one
// is told so. The server removes what is over by its own clock.
//
// # What a cached read may show
//
// A session that is read again and again is remembered for less than a second,
// and the server tells when it changes (CLIENT TRACKING, in the protocol RESP3;
// "tracking-table-max-keys" bounds what that takes there). What this
// process changes it sees at once. What another changes it sees when the message
// comes, normally within a millisecond, and after 0.9 seconds at the latest,
// counted from before the read was sent, whatever becomes of the message or the
// connection. So a session that has ended anywhere is refused everywhere within
// one second.
//
// Until then a request may see values that are no longer true; it cannot store
// anything in a session that has ended, since every change asks the server. Where
// even a page must not be shown any more, set [Config.NoCache]: every read then
// asks the server.
//
// # Where the server does not tell
//
// Many managed services do not know CLIENT TRACKING, many proxies speak RESP2 only,
// and a user may lack the right. Then nothing is cached: every read asks the server,
// which costs a round trip and shows nothing that is over. [Open] says so once in
// the log ([Config.Logger]). So does a store whose server ceases to tell of changes
// while it runs, since another has taken its place or a right was taken away; it
// tries again after a minute, later less and less often, and caches again when that
// succeeds. Where the load without the cache would be too much, [Config.RequireCache]
// has Open fail instead.
//
// # What an outage does
//
// While the server is away, calls ask again until their context ends; then they
// fail, and those that come later succeed as soon as the server is back. A call
// that changes something is not sent again once it may have been executed: with
// the connection broken, nobody can know, and a second attempt would be told that
// the session exists already, or has ended already. It is an error, and the page
// is answered with 503.
//
// # What a failover may lose
//
// Redis acknowledges what its replicas do not have yet. When a master dies and a
// replica takes its place, the last of what was acknowledged is gone: as a rule
// some milliseconds of changes, or all since its replica lost touch. A sign-out
// among them is undone. [Config.Wait] has each change wait until so many replicas
// have it. With one replica for each master, that makes every acknowledged change
// survive the death of one of the two, and no change is acknowledged while one is
// away. What is not acknowledged in time is an error, though the master has it.
//
// The same is true of one server that ends and starts again: what it had not yet
// written to its disk is gone. "appendonly yes" with "appendfsync always" keeps
// all that was acknowledged; "everysec" loses up to two seconds; without
// appendonly, everybody may be signed out, and a snapshot that is loaded undoes
// every sign-out since. A master that keeps nothing on disk must not be started
// again by a supervisor: it comes back empty, and so do its replicas.
//
// A master that is cut off from its Cluster or its sentinels goes on answering
// for as long as it does not know: an old session may be served there, to
// clients that are cut off with it, until cluster-node-timeout is over, or, with
// Sentinel, while the cut lasts. "min-replicas-to-write 1" has it refuse changes
// meanwhile.
//
// # How to run the server
//
// Memory: "maxmemory-policy noeviction". When memory is full, new sessions and
// values are refused ([session.ErrFull], a 503), and those who are signed in stay
// so. Another policy removes sessions, which signs people out, and also spent
// challenges, which can then be used twice. A session with a value of 100 bytes
// takes some 550 bytes, or 390 with "hash-max-listpack-value 1024", and an owner
// of its own some 480 more.
//
// Access: whoever can write to the server is everybody. Keep it off the network
// of others, use TLS (rediss://) where the network is not yours, and a user who
// may do what is needed and nothing else:
//
//	ACL SETUSER gatehouse on >password ~gatehouse:* +hello +auth +ping
//	  +client|tracking +client|caching +hgetall +hmget +hget +hset +hdel +exists
//	  +del +rename +persist +pexpire +pexpireat +set +zadd +zrem +zrange
//	  +zremrangebyscore +eval +evalsha +scan
//
// besides, for a Cluster, +cluster|slots +asking; for Sentinel, +role; and for
// Config.Wait, +wait +unsubscribe +punsubscribe +sunsubscribe +discard.
//
// Whoever can read from it learns what the sessions hold, but cannot act as
// anybody: an ID is a hash, of which no cookie can be made.
//
// Clocks: the server's decides what is over. Those of the applications say when a
// session was last seen; keep them together.
//
// # Keys
//
// For programs in other languages and for people. All begin with [Config.Prefix].
//
//	gatehouse:s:<handle>         hash: a session; expires at its deadline
//	  head                       its ID, created, seen, idle, expires, indexed
//	  owner                      who is signed in; absent if nobody is
//	  l:<name>                   a label
//	  v:<key>                    a value, as JSON
//	  tag                        part of its entries in sorted sets, if it has any
//	gatehouse:o:<owner>          sorted set: entries of the owner's sessions
//	gatehouse:l:<name>=<value>   sorted set: entries of sessions with the label
//	gatehouse:i:<digits>         sorted set: entries of sessions that have an owner and
//	                             whose handle begins with these two digits
//	gatehouse:i:all              string: these sets have all such sessions
//	gatehouse:x:<id>             string: a spent challenge; expires with it
//	gatehouse:n                  hash: what machines say of themselves ([Store.Notes])
//	gatehouse:t:{throttle}:n:<network>
//	gatehouse:t:{throttle}:a:<account>
//	                             hash: attempts ([Store.Throttle]), under names that
//	                             were derived with a secret. Each field is a bucket,
//	                             of the name "", or of the network where it is of both;
//	                             its value says when it will be full, in microseconds
//	                             since 1970 UTC
//
// A handle is 16 hexadecimal digits: the first of the ID, which has 64. It is
// what listings and logs show, so that HGETALL shows the session in question.
// The ID is compared on every access: another one with the same handle is no
// session. The head is six words with a space between them; moments and times are
// in milliseconds, moments since 1970 UTC. The last is when the session was last
// put into its indexes, 0 if it has no owner and no label. A hash without a head
// that can be read is no session.
//
// An entry in a sorted set is the handle, a dot and the session's tag, eight digits
// that are others whenever its ID, owner or labels have changed; so what removes an
// entry late removes none of a session that has the same ID or name by then. There
// may be entries with earlier tags, and those of sessions from before there were tags
// are the handle alone. The score is the moment in milliseconds after which an entry
// may be dropped. A set may name sessions that have ended or have another owner
// by now: read the session before you believe it. In the name of a label's set,
// the label's name is escaped as in a URL's query; its value is as it is.
//
// Where there are sessions from before there was gatehouse:i, the first listing of
// the signed in goes through all keys, and puts them there. While programs of that
// time still run, who signs in by them is listed so once the session is used by a
// newer one some minutes later; listings by owner miss none.
//
// In a Cluster, a session that gets another ID is for some moments neither under
// the old nor under the new one. The new key then holds a hash without a head,
// whose field "pending" is the new ID: a reservation, for 30 seconds at the most.
// Deleting it ends the session.
package redis
