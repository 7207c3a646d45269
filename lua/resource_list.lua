#!lua flags=allow-oom
-- resource_list: a piece of what is registered, in no order.
--
-- uses          open
-- keys
--   1 meta         hash    position, credentials
--   2 definitions  hash    resource -> packed definition
-- args
--   1 caller       see open
--   2 cursor       of HSCAN, "0" to begin
--   3 count        how many to look at, about
-- returns       OK, now_us, position, next cursor, then name, packed definition ...
-- cost          O(count)
local scanned = redis.call('HSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
local out = { 'OK', now_us, position, scanned[1] }
for i = 1, #scanned[2] do
  out[i + 4] = scanned[2][i]
end
return cmsgpack.pack(out)
