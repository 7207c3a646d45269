#!lua flags=allow-oom
-- key_list: the tenant's API keys, as far as they may be shown.
--
-- uses          open
-- keys
--   1 meta      hash    position, version, credentials
--   2 keys      hash    key id -> packed key
--   3 used      hash    key id -> when it was last used, ms since epoch
-- args
--   1 caller    see open
-- returns       OK, now_us, position, then key id, packed key, last used in ms or false ...
-- cost          O(keys)
local out = { 'OK', now_us, position }
local keys = redis.call('HGETALL', KEYS[2])
for i = 1, #keys, 2 do
  local n = #out
  out[n + 1], out[n + 2], out[n + 3] = keys[i], keys[i + 1], tonumber(redis.call('HGET', KEYS[3], keys[i])) or false
end
return cmsgpack.pack(out)
