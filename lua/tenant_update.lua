#!lua
-- tenant_update: change a tenant's settings. Its version moves, so every replica looks again at its next call.
--
-- keys
--   1 meta      hash    position, version, name, tier, issuer, credentials
-- args
--   1 tier, or empty to leave it
--   2 require registration: "1", "0", or empty to leave it
--   3 tenant
--   4 publish command
--   5 channel
--   6 issuer id; empty to leave the issuer, "-" to remove it
--   7 kind of the issuer's keys
--   8 issuer (`iss`), or empty
--   9 audience (`aud`), or empty
--   10 the issuer's keys, sealed
-- returns       OK, now_us, position, packed issuer of before or false | STALE, now_us when there is no such tenant
-- cost          O(1)
-- invariants    what came from an issuer that is replaced or removed is refused from here on, and its streams are told to end
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local state, before = unpack(redis.call('HMGET', KEYS[1], 'state', 'issuer'))
if not state then
  return cmsgpack.pack({ 'STALE', now_us })
end
if ARGV[1] ~= '' then
  redis.call('HSET', KEYS[1], 'tier', ARGV[1])
end
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'require', ARGV[2])
end
if ARGV[6] ~= '' then
  if before then
    local field = 'i:' .. cmsgpack.unpack(before)
    redis.call('HDEL', KEYS[1], 'issuer', field)
    redis.call(ARGV[4], ARGV[5], cmsgpack.pack('C', ARGV[3], field))
  end
  if ARGV[6] ~= '-' then
    local issuer = cmsgpack.pack(ARGV[6], ARGV[7], ARGV[8] ~= '' and ARGV[8], ARGV[9] ~= '' and ARGV[9], ARGV[10])
    redis.call('HSET', KEYS[1], 'issuer', issuer, 'i:' .. ARGV[6], '1')
  end
end
local numbers = { struct.unpack('<ddddddddd', state) }
numbers[5] = math.max(numbers[5] + 1, now_us) -- the version
redis.call('HSET', KEYS[1], 'state', struct.pack('<ddddddddd', unpack(numbers, 1, 9)))
return cmsgpack.pack({ 'OK', now_us, numbers[1], before })
