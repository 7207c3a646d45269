#!lua flags=allow-oom
-- usage: how much of what its tier limits a tenant uses.
--
-- uses          open, places
-- keys
--   1 meta       hash    position, version, credentials, how many resources are registered
--   2 streams    hash    "<replica>/<number>" -> "" for a key's or token's stream, the session for a cookie's
--   3 replicas   zset    replica -> until when it counts as alive, ms since epoch (the partition's)
--   4 held       hash    resource -> packed reservation
--   5 keys       hash    key id -> packed key
--   6 companies  hash    slug -> packed company
--   7 connections hash   connection -> packed connection
--   8 counts     hash    what ended when; the day's events
-- args
--   1 caller    see open
-- returns       OK, now_us, position, reservations held, event streams of keys and tokens, keys, registered resources, companies,
--               connections, queue events pushed today
-- cost          O(streams of the tenant)
local day, pushed = false, 0
local packed = redis.call('HGET', KEYS[8], 'day')
if packed then
  day, pushed = cmsgpack.unpack(packed)
end
pushed = day == math.floor(now_ms / 86400000) and pushed or 0
return cmsgpack.pack({ 'OK', now_us, position, redis.call('HLEN', KEYS[4]), (count_places('', '')), redis.call('HLEN', KEYS[5]),
  tonumber(redis.call('HGET', META, 'resources')) or 0, redis.call('HLEN', KEYS[6]), redis.call('HLEN', KEYS[7]), pushed })
