#!lua flags=allow-oom
-- company_read: registered companies: one, or all.
--
-- uses          open
-- keys
--   1 meta      hash    position, credentials
--   2 companies hash    slug -> packed company
-- args
--   1 caller    see open
--   2 slug      or empty: all
-- returns       OK, now_us, position, then slug, packed company ...
-- cost          O(companies told)
local out = { 'OK', now_us, position }
if ARGV[2] ~= '' then
  local packed = redis.call('HGET', KEYS[2], ARGV[2])
  if packed then
    out[4], out[5] = ARGV[2], packed
  end
else
  for _, part in ipairs(redis.call('HGETALL', KEYS[2])) do
    out[#out + 1] = part
  end
end
return cmsgpack.pack(out)
