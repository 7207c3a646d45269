#!lua flags=allow-oom
-- force_release: end a reservation whoever holds it, and say why.
--
-- uses          open, change
-- keys
--   1 meta      hash    position, earliest deadline, credentials
--   2 held      hash    resource -> packed reservation
--   3 deadlines zset    resource -> deadline, ms since epoch
--   4 history   stream  what subscribers are told
--   5 due       zset    tenant -> its earliest deadline (the partition's)
-- args
--   1 caller    see open
--   2 floor     see open
--   3 resource
--   4 reason    the sentence that subscribers are shown, or empty
-- returns       OK, now_us, position, then the released names
-- cost          O(log held)
local resource, reason = ARGV[3], ARGV[4]
local present = redis.call('HGET', HELD, resource)
if not present then
  return cmsgpack.pack({ 'OK', now_us, position })
end
local holder, _, fence, deadline, _, kind, label = cmsgpack.unpack(present)
drop({ resource }, deadline)
tell(next_position(), 'UNRESERVED', 'FORCE_RELEASED', reason ~= '' and reason, false, resource, holder, kind, LABEL, fence, false, false, false)
commit()
return cmsgpack.pack({ 'OK', now_us, position, resource })
