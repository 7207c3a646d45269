#!lua
-- tenant_create: a tenant begins, with its default key and its first position.
--
-- keys
--   1 meta      hash    position, version, name, tier, credentials
--   2 keys      hash    key id -> packed key
-- args
--   1 name
--   2 tier
--   3 key id
--   4 key hash
--   5 key label
--   6 scopes of the key, comma-separated
-- returns       OK, now_us, position | EXISTS, now_us
-- cost          O(1)
-- invariants    an existing tenant is left as it was
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
if redis.call('EXISTS', KEYS[1]) == 1 then
  return cmsgpack.pack({ 'EXISTS', now_us })
end
local now_ms = math.floor(now_us / 1000)
redis.call('HSET', KEYS[1], 'state', struct.pack('<ddddddddd', now_us, 0, 0, 0, now_us, 0, 0, 0, 0), 'name', ARGV[1], 'tier', ARGV[2],
  'created', string.format('%d', now_ms), 'k:' .. ARGV[4], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[3], cmsgpack.pack(ARGV[4], ARGV[5], ARGV[6], now_ms))
return cmsgpack.pack({ 'OK', now_us, now_us })
