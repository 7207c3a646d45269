#!lua
-- tenant_update: change a tenant's settings. Its version moves, so every replica looks again at its next call.
--
-- keys
--   1 meta      hash    position, version, name, tier, credentials
-- args
--   1 tier, or empty to leave it
--   2 require registration: "1", "0", or empty to leave it
-- returns       OK, now_us, position | STALE, now_us when there is no such tenant
-- cost          O(1)
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local position = redis.call('HGET', KEYS[1], 'position')
if not position then
  return cmsgpack.pack({ 'STALE', now_us })
end
if ARGV[1] ~= '' then
  redis.call('HSET', KEYS[1], 'tier', ARGV[1])
end
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'require', ARGV[2])
end
redis.call('HINCRBY', KEYS[1], 'version', 1)
return cmsgpack.pack({ 'OK', now_us, tonumber(position) })
