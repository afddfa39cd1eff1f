package redis

import (
	"context"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/throttle"
)

// Throttle returns the buckets of package throttle that all machines with this
// prefix share. The buckets of an account are in one hash, which goes when all of
// them are full. In a Cluster all are in one slot, since one attempt takes out of
// several at once: a server answers far more attempts than machines can hash
// passwords.
func (s *Store) Throttle() throttle.Store { return buckets{s} }

type buckets struct{ *Store }

// KEYS has the hash of each bucket. ARGV has, for each, its field, the microseconds
// of Every, Burst, and 1 if it does not deny.
const bucketsPreamble = `
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function bucket(i)
  local field, every, burst = ARGV[4 * i - 3], tonumber(ARGV[4 * i - 2]), tonumber(ARGV[4 * i - 1])
  local full = math.max(now, tonumber(redis.call('HGET', KEYS[i], field) or 0))
  return full, every, full - now - (burst - 1) * every, field
end
`

var (
	takeTokens = newScript(bucketsPreamble + `
local wait = 0
for i = 1, #KEYS do
  local _, _, lacks = bucket(i)
  if ARGV[4 * i] ~= '1' then wait = math.max(wait, lacks) end
end
if wait > 0 then return wait end
for i = 1, #KEYS do
  local full, every, lacks, field = bucket(i)
  if lacks <= 0 then
    local new = redis.call('HSET', KEYS[i], field, string.format('%.0f', full + every))
    -- Buckets that have filled up go, now and then.
    if new == 1 and redis.call('HLEN', KEYS[i]) % 256 == 0 then
      local all = redis.call('HGETALL', KEYS[i])
      for j = 1, #all, 2 do
        if tonumber(all[j + 1]) <= now then redis.call('HDEL', KEYS[i], all[j]) end
      end
    end
    local lives = math.ceil((full + every - now) / 1000)
    if redis.call('PTTL', KEYS[i]) < lives then redis.call('PEXPIRE', KEYS[i], lives) end
  end
end
return 0
`)

	usedTokens = newScript(bucketsPreamble + `
local used = {}
for i = 1, #KEYS do
  local full, every = bucket(i)
  used[i] = math.ceil((full - now) / every)
end
return used
`)

	// Here the last of a bucket's four arguments is 1 if it is to be filled.
	giveTokens = newScript(bucketsPreamble + `
for i = 1, #KEYS do
  local full, every, _, field = bucket(i)
  if ARGV[4 * i] == '1' or full - every <= now then
    redis.call('HDEL', KEYS[i], field)
  else
    redis.call('HSET', KEYS[i], field, string.format('%.0f', full - every))
  end
end
return 0
`)
)

// Take implements [throttle.Store].
func (b buckets) Take(ctx context.Context, of []throttle.Bucket) (time.Duration, error) {
	keys, args := b.arguments(of, func(i int) bool { return of[i].Soft })
	msg, err := b.run(ctx, takeTokens, false, keys, args)
	if err != nil {
		return 0, failed("throttle: take", err)
	}
	us, err := msg.ToInt64()
	return time.Duration(us) * time.Microsecond, failed("throttle: take", err)
}

// Used implements [throttle.Store].
func (b buckets) Used(ctx context.Context, of []throttle.Bucket) ([]int, error) {
	keys, args := b.arguments(of, func(int) bool { return false })
	msg, err := b.run(ctx, usedTokens, true, keys, args)
	if err != nil {
		return nil, failed("throttle: used", err)
	}
	list, err := msg.AsIntSlice()
	if err != nil {
		return nil, failed("throttle: used", err)
	}
	used := make([]int, len(of))
	for i := range min(len(used), len(list)) {
		used[i] = int(list[i])
	}
	return used, nil
}

// Give implements [throttle.Store].
func (b buckets) Give(ctx context.Context, one, all []throttle.Bucket) error {
	of := append(append([]throttle.Bucket(nil), one...), all...)
	keys, args := b.arguments(of, func(i int) bool { return i >= len(one) })
	_, err := b.run(ctx, giveTokens, false, keys, args)
	return failed("throttle: give", err)
}

// Forget implements [throttle.Store].
func (b buckets) Forget(ctx context.Context, account [16]byte) error {
	key := b.keys.buckets(throttle.Name{Account: account})
	_, err := b.remote.write(ctx, true, func(ctx context.Context, c rueidis.CommandClient) rueidis.RedisResult {
		return c.Do(ctx, c.B().Del().Key(key).Build())
	})
	return failed("throttle: forget", err)
}

// run is not that of sessions, for which some numbers are refusals.
func (b buckets) run(ctx context.Context, script *script, harmless bool, keys, args []string) (rueidis.RedisMessage, error) {
	return b.remote.write(ctx, harmless, func(ctx context.Context, c rueidis.CommandClient) rueidis.RedisResult {
		return script.send(ctx, c, keys, args)
	})
}

func (b buckets) arguments(of []throttle.Bucket, flag func(i int) bool) (keys, args []string) {
	for i, one := range of {
		keys = append(keys, b.keys.buckets(one.Name))
		field, set := "", "0"
		if one.Name.Account != ([16]byte{}) && one.Name.Network != ([16]byte{}) {
			field = hex.EncodeToString(one.Name.Network[:])
		}
		if flag(i) {
			set = "1"
		}
		args = append(args, field, strconv.FormatInt(one.Limit.Every.Microseconds(), 10), strconv.Itoa(one.Limit.Burst), set)
	}
	return keys, args
}

// buckets is the hash in which a bucket is. What is between braces makes it one slot
// of a Cluster.
func (k keys) buckets(n throttle.Name) string {
	if n.Account == ([16]byte{}) {
		return k.prefix + "t:{throttle}:n:" + hex.EncodeToString(n.Network[:])
	}
	return k.prefix + "t:{throttle}:a:" + hex.EncodeToString(n.Account[:])
}
