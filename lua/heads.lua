#!lua flags=no-writes
-- heads: the last kept positions of tenants of one partition, and whether credentials still hold: what betrays a lost message.
--
-- keys
--   1.. meta    hash    position, credentials
-- args
--   1.. per key: how many credentials follow, then those credentials
-- returns       OK, now_us, then per key: the position of the last kept event, or false when the tenant is gone, then a boolean per
--               credential
-- cost          O(keys + credentials)
local clock = redis.call('TIME')
local out = { 'OK', clock[1] * 1000000 + clock[2], 0 }
local at = 1
for _, meta in ipairs(KEYS) do
  local count = tonumber(ARGV[at])
  local found = redis.call('HMGET', meta, 'state', unpack(ARGV, at + 1, at + count))
  out[#out + 1] = found[1] and (struct.unpack('<d', found[1])) or false
  for i = 2, count + 1 do
    out[#out + 1] = found[i] and true or false
  end
  at = at + count + 1
end
return cmsgpack.pack(out)
