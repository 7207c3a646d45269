#!lua flags=allow-oom
-- verify_fence: is this fencing token the one of the resource's present holder?
--
-- uses          open
-- keys
--   1 meta      hash    position, credentials
--   2 held      hash    resource -> packed reservation
-- args
--   1 caller    see open
--   2 floor     see open
--   3 resource
-- returns       OK, now_us, position, the present fencing token or false
-- cost          O(1)
local fence = false
local present = redis.call('HGET', KEYS[2], ARGV[3])
if present then
  local _, _, current, deadline = cmsgpack.unpack(present)
  if not deadline or deadline > now_ms then
    fence = current
  end
end
return cmsgpack.pack({ 'OK', now_us, position, fence })
