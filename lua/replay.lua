#!lua flags=allow-oom
-- replay: what was told after a position, a page of it, for those who were away.
--
-- uses          open
-- keys
--   1 meta      hash    position
--   2 history   stream  what subscribers are told
-- args
--   1 caller    see open; its credential is false
--   2 from      the position after which the page begins
--   3 limit     the most entries of the page
-- returns       OK, now_us, position, position of the last kept event, then packed entries: an event, or those of a batch, of which the first may stand before `from`
-- cost          O(limit)
-- invariants    nothing older than an hour is told again. Whether the page begins right after `from`, its first event says: it names
--               the position before it
local HOUR_US = 3600 * 1000000
local from = math.max(tonumber(ARGV[2]), now_us - HOUR_US)
local out = { 'OK', now_us, position, last }
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], string.format('(%d-0', from), '+', 'COUNT', ARGV[3])) do
  out[#out + 1] = entry[2][2]
end
return cmsgpack.pack(out)
