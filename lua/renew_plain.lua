#!lua flags=allow-oom
-- renew_plain: move the deadline of what the caller proves it holds.
--
-- uses          open, change, lapse_plain
-- keys
--   1 meta      hash    position, earliest deadline, credentials
--   2 held      hash    resource -> packed reservation
--   3 deadlines zset    resource -> deadline, ms since epoch
--   4 history   stream  what subscribers are told
--   5 due       zset    tenant -> its earliest deadline (the partition's)
-- args
--   1 caller    see open
--   2 floor     see open
--   3.. quartets of requester, resource, release token (empty when the caller sent none), ttl in ms
-- returns       OK, now_us, position, then per item: status, fence, deadline_ms, holder, holder_deadline_ms
--               | BAD_TOKEN, now_us, position, then true per item whose token is wrong, false for the others
-- cost          O(items * log held)
-- invariants    a refusal leaves every key as it was; a lapsed reservation is never revived; the fence stays
local out = { 'OK', now_us, position }
local wrong = { 'BAD_TOKEN', now_us, position }
local refused = false
local renewed = {} -- name -> packed reservation, moved by an earlier item of this call
local records, deadlines, events, earliest = {}, {}, {}, nil

for i = 3, #ARGV, 4 do
  local requester, resource, given = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local present = renewed[resource] or redis.call('HGET', HELD, resource)
  local n, bad = #out, false
  out[n + 2], out[n + 3], out[n + 4], out[n + 5] = false, false, false, false
  if not present then
    out[n + 1] = 'NOT_RESERVED'
  else
    local holder, token, fence, deadline, since, kind, label, end_user, note, pool, path, blockers, used = cmsgpack.unpack(present)
    if holder ~= requester then
      out[n + 1], out[n + 4], out[n + 5] = 'DOESNT_OWN_RESERVATION', holder, deadline
    elseif token ~= given then
      bad, refused = true, true
    else
      local moved = math.ceil(now_us / 1000) + ARGV[i + 3]
      if deadline and not (earliest and earliest < deadline) then
        earliest = deadline
      end
      local packed = cmsgpack.pack(holder, token, fence, moved, since, kind, label, end_user, note, pool, path, blockers, used)
      renewed[resource] = packed
      records[#records + 1] = resource
      records[#records + 1] = packed
      deadlines[#deadlines + 1] = moved
      deadlines[#deadlines + 1] = resource
      events[#events + 1] = { 'RENEWED', 'RENEWED', false, 'RENEW', resource, requester, kind, LABEL, fence, moved, pool, blockers }
      out[n + 1], out[n + 2], out[n + 3] = 'RENEWED', fence, moved
    end
  end
  wrong[#wrong + 1] = bad
end

if refused then
  return cmsgpack.pack(wrong)
end

if #records > 0 then
  keep(records, deadlines)
  if earliest and earliest <= due then
    refresh_due()
  end
  for _, event in ipairs(events) do
    tell(next_position(), unpack(event))
  end
  commit()
end
out[3] = position
return cmsgpack.pack(out)
