#!lua flags=allow-oom
-- check: who holds these resources, and could a stranger take them now?
--
-- uses          open
-- keys
--   1 meta      hash    position, credentials
--   2 held      hash    resource -> packed reservation
-- args
--   1 caller    see open
--   2 floor     see open
--   3.. resources
-- returns       OK, now_us, position, then per resource: holder, deadline_ms, note, capacity, available, a stranger could take it
-- cost          O(resources)
local out = { 'OK', now_us, position }
for i = 3, #ARGV do
  local present = redis.call('HGET', KEYS[2], ARGV[i])
  local holder, deadline, note = false, false, false
  if present then
    local requester, _, _, ends, _, _, _, _, told_note = cmsgpack.unpack(present)
    if not ends or ends > now_ms then
      holder, deadline, note = requester, ends, told_note
    end
  end
  local n = #out
  out[n + 1], out[n + 2], out[n + 3] = holder, deadline, note
  out[n + 4], out[n + 5], out[n + 6] = 1, holder and 0 or 1, not holder
end
return cmsgpack.pack(out)
