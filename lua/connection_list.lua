#!lua flags=allow-oom
-- connection_list: a tenant's connections, each with how its watch goes.
--
-- uses          open
-- keys
--   1 meta      hash    position, version, credentials
--   2 connections hash  connection id -> packed connection
--   3 watches   hash    connection id -> packed watch
-- args
--   1 caller    see open
-- returns       OK, now_us, position, then connection id, packed connection, packed watch or false ...
-- cost          O(connections)
local out = { 'OK', now_us, position }
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  out[#out + 1] = all[i]
  out[#out + 1] = all[i + 1]
  out[#out + 1] = redis.call('HGET', KEYS[3], all[i])
end
return cmsgpack.pack(out)
