#!lua
-- connection_create: a tenant gets one more connection of the queue monitor, with the key for sending its events.
--
-- uses          open, limit
-- keys
--   1 meta      hash    position, version, credentials
--   2 connections hash  connection id -> packed connection
-- args
--   1 caller    see open
--   2 connection id
--   3 ingest key's hash
--   4 name
--   5 framework
--   6 broker's address, encrypted, or empty
--   7 options   JSON
--   8 most connections that the tenant may have, 0: no limit
-- returns       OK, now_us, position, created_ms | LIMIT, now_us, position, limit type, limit, connections, false
-- cost          O(1)
local connections, most = redis.call('HLEN', KEYS[2]), tonumber(ARGV[8])
if most > 0 and connections >= most then
  return over_limit('Connections', most, connections, false)
end
redis.call('HSET', META, 'q:' .. ARGV[3], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], cmsgpack.pack(ARGV[3], ARGV[4], ARGV[5], now_ms, ARGV[6] ~= '' and ARGV[6], ARGV[7]))
return cmsgpack.pack({ 'OK', now_us, position, now_ms })
