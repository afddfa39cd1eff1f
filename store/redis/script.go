package redis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/session"
)

// What a script answers where it changed nothing. Otherwise it answers 0, or a
// list, see listing.
const (
	notFound = 1
	exists   = 2
	conflict = 3
	// notSlim: the index is due, or the change is not for slimScript.
	notSlim = 4
)

// again is the first element of a list that says: nothing has changed, since the
// session has other names than those it is listed by under its new ID.
const again = "again"

// The scripts touch only the keys that they are given, so that a Cluster can run
// them. They are written without a shebang: Redis then looks at each command,
// not at the script as a whole, when its memory is full, and a session that is
// there can still be used and ended.
//
// ARGV begins with the ID, the new ID, Seen, Idle, Expires, 1 for each of Restart
// and "names are given or taken", and a new tag; empty is unchanged. Lists follow,
// each preceded by how many elements it has.
const preamble = `
local at = 9
local function list(width, f)
  local last = at + tonumber(ARGV[at])
  for i = at + 1, last, width do f(ARGV[i], ARGV[i + 1]) end
  at = last + 1
end

-- The clocks of the session, nothing if it is another one or none.
local function parse(head, id)
  if not head then return nil end
  local n = '(%-?%d+)'
  local of, created, seen, idle, expires, indexed =
    string.match(head, '^(%x+) ' .. n .. ' ' .. n .. ' ' .. n .. ' ' .. n .. ' ' .. n .. '$')
  if of ~= id then return nil end
  return created, seen, idle, expires, indexed
end

-- The owner and labels, each as field and value.
local function names(key)
  local found, all = {}, redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if all[i] == 'owner' or string.sub(all[i], 1, 2) == 'l:' then
      table.insert(found, all[i])
      table.insert(found, all[i + 1])
    end
  end
  return found
end

-- Whether the session has exactly these values, or none where one is empty.
local function holds(key)
  local ok = true
  list(2, function(field, want)
    if (redis.call('HGET', key, field) or '') ~= want then ok = false end
  end)
  return ok
end

-- The names, if there is one that is not in the list.
local function unlisted(key)
  local known = {}
  list(2, function(field, value) known[field] = value end)
  local found = names(key)
  for i = 1, #found, 2 do
    if known[found[i]] ~= found[i + 1] then
      table.insert(found, 1, 'again')
      return found
    end
  end
end

-- Applies the change, and answers with what the indexes have to be told, if that
-- is due: until when the session lives, its tag and the one before, how many
-- elements the names take that it has now, these, and those that it had.
local function apply(key, id, created, seen, idle, expires, indexed)
  local create = not seen
  if create or ARGV[3] ~= '' and tonumber(ARGV[3]) > tonumber(seen) then seen = ARGV[3] end
  if create or ARGV[6] == '1' then created = seen end
  local due = ARGV[7] == '1' or indexed ~= '0' and
    (ARGV[4] ~= '' or ARGV[5] ~= '' or seen - indexed >= 300000)
  if ARGV[4] ~= '' then idle = ARGV[4] end
  if ARGV[5] ~= '' then expires = ARGV[5] end
  local before, was = {}, ''
  if due and not create then
    before, was = names(key), redis.call('HGET', key, 'tag') or ''
  end

  -- The first write of a script fails if memory is full: that is right for new
  -- values, and wrong for a session that is only kept alive or gets smaller.
  if not create and ARGV[at] == '0' then redis.call('PERSIST', key) end
  list(2, function(field, value) redis.call('HSET', key, field, value) end)
  list(1, function(field) redis.call('HDEL', key, field) end)

  local after, tag = {}, ''
  if due then
    after = names(key)
    indexed = #after > 0 and seen or '0'
    if #after > 0 then tag = ARGV[7] ~= '1' and was ~= '' and was or ARGV[8] end
    if tag == '' then
      redis.call('HDEL', key, 'tag')
    else
      redis.call('HSET', key, 'tag', tag)
    end
  end
  local deadline = string.format('%.0f', math.min(seen + idle, expires))
  redis.call('HSET', key, 'head', table.concat({id, created, seen, idle, expires, indexed}, ' '))
  redis.call('PEXPIREAT', key, deadline)
  if #before + #after == 0 then return 0 end
  local answer = {deadline, tag, was, #after}
  for i = 1, #after do table.insert(answer, after[i]) end
  for i = 1, #before do table.insert(answer, before[i]) end
  return answer
end
`

var (
	// Lists: conditions, values to set, fields to remove.
	createScript = newScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return 2 end
if not holds(KEYS[1]) then return 3 end
return apply(KEYS[1], ARGV[1], nil, nil, nil, nil, '0')
`)

	// Lists: conditions, values to set, fields to remove.
	commitScript = newScript(`
local created, seen, idle, expires, indexed = parse(redis.call('HGET', KEYS[1], 'head'), ARGV[1])
if not created then return 1 end
if not holds(KEYS[1]) then return 3 end
return apply(KEYS[1], ARGV[1], created, seen, idle, expires, indexed)
`)

	// slimScript is for what isSlim says, and answers notSlim if the session has to
	// be listed again. ARGV: the ID, Seen, and values to set. It is on its own since
	// the server runs one script at a time: this one takes it half as long.
	slimScript = newScriptAlone(`
local key, id, seen = KEYS[1], ARGV[1], ARGV[2]
local head = redis.call('HGET', key, 'head')
if not head or string.sub(head, 1, 64) ~= id then return 1 end
local created, before, idle, expires, indexed =
  string.match(head, '^( %-?%d+ )(%-?%d+) (%-?%d+) (%-?%d+) (%-?%d+)$', 65)
if not created then return 1 end
if tonumber(seen) < tonumber(before) then seen = before end
if indexed ~= '0' and seen - indexed >= 300000 then return 4 end
redis.call('HSET', key, 'head', id .. created .. seen .. ' ' .. idle .. ' ' .. expires .. ' ' .. indexed, unpack(ARGV, 3))
redis.call('PEXPIREAT', key, string.format('%.0f', math.min(seen + idle, expires)))
return 0
`)

	// deleteScript answers with the tag of the session and its names.
	deleteScript = newScript(`
local is = redis.call('HMGET', KEYS[1], 'head', 'pending', 'tag')
if is[2] ~= ARGV[1] and not parse(is[1], ARGV[1]) then return 1 end
local found = names(KEYS[1])
table.insert(found, 1, is[3] or '')
redis.call('DEL', KEYS[1])
return found
`)

	// renameScript is for a single server. Lists: conditions, names known,
	// values to set, fields to remove.
	renameScript = newScript(`
local created, seen, idle, expires, indexed = parse(redis.call('HGET', KEYS[1], 'head'), ARGV[1])
if not created then return 1 end
if redis.call('EXISTS', KEYS[2]) == 1 then return 2 end
if not holds(KEYS[1]) then return 3 end
local more = unlisted(KEYS[1])
if more then return more end
redis.call('RENAME', KEYS[1], KEYS[2])
return apply(KEYS[2], ARGV[2], created, seen, idle, expires, indexed)
`)

	// reserveScript takes the new name for a session that is about to be
	// renamed, or brings its own reservation up to date (ARGV[3] is 1). ARGV[4]
	// is for how long, ARGV[5] its tag. List: names known.
	reserveScript = newScript(`
at = 6
if ARGV[3] == '' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 2 end
elseif redis.call('HGET', KEYS[1], 'pending') ~= ARGV[2] then
  return 1
else
  redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], 'pending', ARGV[2], 'tag', ARGV[5])
list(2, function(field, value) redis.call('HSET', KEYS[1], field, value) end)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 0
`)

	// takeScript removes the session and returns all of it. Lists: conditions,
	// names known.
	takeScript = newScript(`
if not parse(redis.call('HGET', KEYS[1], 'head'), ARGV[1]) then return 1 end
if not holds(KEYS[1]) then return 3 end
local more = unlisted(KEYS[1])
if more then return more end
local all = redis.call('HGETALL', KEYS[1])
redis.call('DEL', KEYS[1])
return all
`)

	// putScript makes the reservation the session that was taken. Once it has,
	// it may be sent again. Lists: the session, values to set, fields to remove.
	putScript = newScript(`
local is = redis.call('HMGET', KEYS[1], 'head', 'pending')
if parse(is[1], ARGV[2]) then return 0 end
if is[2] ~= ARGV[2] then return 1 end
redis.call('DEL', KEYS[1])
local head
list(2, function(field, value)
  if field == 'head' then head = value else redis.call('HSET', KEYS[1], field, value) end
end)
return apply(KEYS[1], ARGV[2], parse(head, ARGV[1]))
`)
)

// A script is sent by its hash, and as a whole to a server that does not know
// it. The hash is the server's choice and guards nothing.
type script struct{ text, hash string }

func newScript(body string) *script { return newScriptAlone(preamble + body) }

func newScriptAlone(text string) *script {
	hash := sha1.Sum([]byte(text))
	return &script{text, hex.EncodeToString(hash[:])}
}

func (s *script) send(ctx context.Context, c rueidis.CommandClient, keys, args []string) rueidis.RedisResult {
	res := c.Do(ctx, c.B().Evalsha().Sha1(s.hash).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build())
	if err, ok := rueidis.IsRedisErr(res.Error()); ok && err.IsNoScript() {
		return c.Do(ctx, c.B().Eval().Script(s.text).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build())
	}
	return res
}

// run runs a script that writes, and returns its answer, or its refusal as an
// error. One that is harmless twice is sent again after a broken connection.
func (s *Store) run(ctx context.Context, script *script, harmless bool, keys, args []string) (rueidis.RedisMessage, error) {
	msg, err := s.remote.write(ctx, harmless, func(ctx context.Context, c rueidis.CommandClient) rueidis.RedisResult {
		return script.send(ctx, c, keys, args)
	})
	if err != nil {
		return msg, err
	}
	return msg, refusal(&msg)
}

// refusal returns the error that the script's answer stands for.
func refusal(msg *rueidis.RedisMessage) error {
	n, err := msg.ToInt64()
	if err != nil {
		return nil // a list
	}
	switch n {
	case notFound:
		return session.ErrNotFound
	case exists:
		return session.ErrExists
	case conflict:
		return session.ErrConflict
	}
	return nil
}
