#!lua
-- connection_create: a tenant gets one more connection of the queue monitor, with the key for sending its events.
--
-- uses          open, limit
-- keys
--   1 meta      hash    position, version, credentials
--   2 connections hash  connection id -> packed connection
-- args
--   1 caller    see open
--   2 floor     see open
--   3 connection id
--   4 ingest key's hash
--   5 name
--   6 framework
--   7 broker's address, encrypted, or empty
--   8 options   JSON
--   9 most connections that the tenant may have, 0: no limit
-- returns       OK, now_us, position, created_ms | LIMIT, now_us, position, limit type, limit, connections, false
-- cost          O(1)
local connections, most = redis.call('HLEN', KEYS[2]), tonumber(ARGV[9])
if most > 0 and connections >= most then
  return over_limit('Connections', most, connections, false)
end
redis.call('HSET', META, 'q:' .. ARGV[4], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[3], cmsgpack.pack(ARGV[4], ARGV[5], ARGV[6], now_ms, ARGV[7] ~= '' and ARGV[7], ARGV[8]))
return cmsgpack.pack({ 'OK', now_us, position, now_ms })
