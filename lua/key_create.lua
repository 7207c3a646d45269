#!lua
-- key_create: a tenant gets one more API key.
--
-- uses          open, limit
-- keys
--   1 meta      hash    position, version, credentials
--   2 keys      hash    key id -> packed key
-- args
--   1 caller    see open
--   2 key id
--   3 key hash
--   4 label
--   5 scopes, comma-separated
--   6 most keys that the tenant may have, 0: no limit
-- returns       OK, now_us, position, created_ms | LIMIT, now_us, position, limit type, limit, keys, false
-- cost          O(1)
local keys, most = redis.call('HLEN', KEYS[2]), tonumber(ARGV[6])
if most > 0 and keys >= most then
  return over_limit('ApiKeys', most, keys, false)
end
redis.call('HSET', META, 'k:' .. ARGV[3], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], cmsgpack.pack(ARGV[3], ARGV[4], ARGV[5], now_ms))
return cmsgpack.pack({ 'OK', now_us, position, now_ms })
