package redis

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

// Notes returns short texts that machines with the same store and prefix write for each
// other, such as announcements of their settings. They are one hash, which expires an hour
// after the last write.
func (s *Store) Notes() Notes { return Notes{s} }

// Notes are texts by name. All methods may be called concurrently, on any number of
// machines.
type Notes struct{ *Store }

const notesTime = time.Hour

func (k keys) notes() string { return k.prefix + "n" }

// Put sets the text of that name.
func (n Notes) Put(ctx context.Context, name, text string) error {
	key := n.keys.notes()
	_, err := n.remote.write(ctx, true, func(ctx context.Context, c rueidis.CommandClient) rueidis.RedisResult {
		return c.Do(ctx, c.B().Hset().Key(key).FieldValue().FieldValue(name, text).Build())
	})
	if err == nil {
		_, err = n.remote.write(ctx, true, func(ctx context.Context, c rueidis.CommandClient) rueidis.RedisResult {
			return c.Do(ctx, c.B().Pexpire().Key(key).Milliseconds(notesTime.Milliseconds()).Build())
		})
	}
	return failed("notes: put", err)
}

// All returns all texts by name. It does not read from the cache.
func (n Notes) All(ctx context.Context) (map[string]string, error) {
	key := n.keys.notes()
	msg, err := n.remote.read(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Hgetall().Key(key).Build())
	})
	if err != nil {
		return nil, failed("notes: all", err)
	}
	all, err := msg.AsStrMap()
	return all, failed("notes: all", err)
}

// Remove removes the text of that name, if there is one.
func (n Notes) Remove(ctx context.Context, name string) error {
	key := n.keys.notes()
	_, err := n.remote.write(ctx, true, func(ctx context.Context, c rueidis.CommandClient) rueidis.RedisResult {
		return c.Do(ctx, c.B().Hdel().Key(key).Field(name).Build())
	})
	return failed("notes: remove", err)
}
