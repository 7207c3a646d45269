#!lua flags=no-writes
-- key_list: the tenant's API keys, as far as they may be shown.
--
-- uses          open
-- keys
--   1 meta      hash    position, version, credentials
--   2 keys      hash    key id -> packed key
-- args
--   1 caller    see open
--   2 floor     see open
-- returns       OK, now_us, position, then key id, packed key ...
-- cost          O(keys)
local out = { 'OK', now_us, position }
for _, part in ipairs(redis.call('HGETALL', KEYS[2])) do
  out[#out + 1] = part
end
return cmsgpack.pack(out)
