#!lua flags=allow-oom
-- list: a piece of the active reservations, in no order.
--
-- uses          open
-- keys
--   1 meta      hash    position, credentials
--   2 held      hash    resource -> packed reservation
-- args
--   1 caller    see open
--   2 floor     see open
--   3 cursor    of HSCAN, "0" to begin
--   4 count     how many to look at, about
-- returns       OK, now_us, position, next cursor, then name, packed reservation ...; what has lapsed is left out
-- cost          O(count)
local scanned = redis.call('HSCAN', KEYS[2], ARGV[3], 'COUNT', ARGV[4])
local out = { 'OK', now_us, position, scanned[1] }
for i = 1, #scanned[2], 2 do
  local _, _, _, deadline = cmsgpack.unpack(scanned[2][i + 1])
  if not deadline or deadline > now_ms then
    out[#out + 1] = scanned[2][i]
    out[#out + 1] = scanned[2][i + 1]
  end
end
return cmsgpack.pack(out)
