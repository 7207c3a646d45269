#!lua
-- session_create: somebody signs in with an API key.
--
-- uses          open, sessions
-- keys
--   1 meta      hash    position, version, credentials
--   2 sessions  zset    session hash -> when it ends, ms since epoch
-- args
--   1 caller    see open; an API key
--   2 hash of the session's text
--   3 how long it lasts without being used, ms
--   4 how long it lasts at most, ms
--   5 most sessions of a tenant: beyond it the one that would end first ends now
-- returns       OK, now_us, position
-- cost          O(log sessions)
tidy_sessions(KEYS[2])
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) then
  for _, hash in ipairs(redis.call('ZRANGE', KEYS[2], 0, 0)) do
    end_session(KEYS[2], hash)
  end
end
local idle_ms, last_ms = tonumber(ARGV[3]), now_ms + ARGV[4]
local ends_ms = math.min(now_ms + idle_ms, last_ms)
redis.call('HSET', META, 's:' .. ARGV[2], cmsgpack.pack(ends_ms, last_ms, string.sub(CREDENTIAL, 3), idle_ms))
redis.call('ZADD', KEYS[2], ends_ms, ARGV[2])
return cmsgpack.pack({ 'OK', now_us, position })
