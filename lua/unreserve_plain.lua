#!lua flags=allow-oom
-- unreserve_plain: give back what the caller proves it holds.
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
--   3.. triples of requester, resource, release token (empty when the caller sent none)
-- returns       OK, now_us, position, then per item: status, released names, holder, holder_deadline_ms
--               | BAD_TOKEN, now_us, position, then true per item whose token is wrong, false for the others
-- cost          O(items * log held)
-- invariants    one wrong token and nothing is freed; only the holder's own token frees
local out = { 'OK', now_us, position }
local wrong = { 'BAD_TOKEN', now_us, position }
local refused = false
local gone = {} -- names that an earlier item of this call frees
local names, events, earliest = {}, {}, nil

for i = 3, #ARGV, 3 do
  local requester, resource, given = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local present = not gone[resource] and redis.call('HGET', HELD, resource)
  local n, bad = #out, false
  out[n + 2], out[n + 3], out[n + 4] = false, false, false
  if not present then
    out[n + 1] = 'NOT_RESERVED'
  else
    local holder, token, fence, deadline, _, kind, label = cmsgpack.unpack(present)
    if holder ~= requester then
      out[n + 1], out[n + 3], out[n + 4] = 'DOESNT_OWN_RESERVATION', holder, deadline
      local cause = { 'resource', resource, holder, deadline }
      events[#events + 1] = { false, 'UNRESERVE_FAILED', 'DOESNT_OWN_RESERVATION', cause, 'UNRESERVE', resource, requester, kind, LABEL, false, false, false, false }
    elseif token ~= given then
      bad, refused = true, true
      events[#events + 1] = { false, 'UNRESERVE_FAILED', 'INVALID_RELEASE_TOKEN', false, 'UNRESERVE', resource, requester, kind, LABEL, false, false, false, false }
    else
      out[n + 1], out[n + 2] = 'RELINQUISHED', { resource }
      gone[resource] = true
      names[#names + 1] = resource
      if deadline and not (earliest and earliest < deadline) then
        earliest = deadline
      end
      events[#events + 1] = { true, 'UNRESERVED', 'RELINQUISHED', false, 'UNRESERVE', resource, requester, kind, LABEL, fence, false, false, false }
    end
  end
  wrong[#wrong + 1] = bad
end

if refused then
  for _, event in ipairs(events) do
    if event[3] == 'INVALID_RELEASE_TOKEN' then
      tell_refusal(unpack(event, 2))
    end
  end
  commit_refusals()
  return cmsgpack.pack(wrong)
end

if #names > 0 then
  drop(names, earliest)
end
for _, event in ipairs(events) do
  if event[1] then
    tell(next_position(), unpack(event, 2))
  else
    tell_refusal(unpack(event, 2))
  end
end
if #names > 0 then
  commit()
else
  commit_refusals()
end
out[3] = position
return cmsgpack.pack(out)
