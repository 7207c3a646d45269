#!lua
-- key_rotate: a key keeps its id, label and scopes and gets a new secret; the old one is refused from here on.
--
-- uses          open, sessions
-- keys
--   1 meta      hash    position, version, credentials
--   2 keys      hash    key id -> packed key
--   3 sessions  zset    session hash -> when it ends, ms since epoch
-- args
--   1 caller    see open
--   2 key id
--   3 new key hash
-- returns       OK, now_us, position, old hash, packed key | NOT_FOUND, now_us, position
-- cost          O(sessions)
local packed = redis.call('HGET', KEYS[2], ARGV[2])
if not packed then
  return cmsgpack.pack({ 'NOT_FOUND', now_us, position })
end
local old, label, scopes, created_ms = cmsgpack.unpack(packed)
local renewed = cmsgpack.pack(ARGV[3], label, scopes, created_ms)
redis.call('HDEL', META, 'k:' .. old)
version, unsaved = math.max(version + 1, now_us), true
redis.call('HSET', META, 'k:' .. ARGV[3], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], renewed)
end_sessions_of(KEYS[3], old)
redis.call(PUBLISH, CHANNEL, cmsgpack.pack('C', TENANT, 'k:' .. old))
return cmsgpack.pack({ 'OK', now_us, position, old, renewed })
