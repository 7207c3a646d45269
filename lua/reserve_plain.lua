#!lua
-- reserve_plain: take free resources, each on its own, or tell who has them.
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
--   3.. sextets of requester, resource, release token to give, ttl in ms or 0, resource type, note
-- returns       OK, now_us, position, then twelve per item, as reserve answers them
--               | LIMIT, now_us, position, limit type, limit, held, earliest deadline_ms or false
-- cost          O(items * log held)
-- invariants    beyond the held limit nothing is taken; what is held is never taken by another before its deadline
local out = { 'OK', now_us, position }
local granted = {} -- name -> packed reservation, taken by an earlier item of this call
local records, deadlines, events = {}, {}, {}

local function answer(status, token, fence, deadline, holder, holder_deadline, obstacle_kind, obstacle)
  local n = #out
  out[n + 1], out[n + 2], out[n + 3], out[n + 4] = status, token, fence, deadline
  out[n + 5], out[n + 6] = holder, holder_deadline
  out[n + 7], out[n + 8], out[n + 9], out[n + 10] = false, false, false, false
  out[n + 11], out[n + 12] = obstacle_kind, obstacle
end

for i = 3, #ARGV, 6 do
  local requester, resource, ttl_ms, kind = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 3]), ARGV[i + 4]
  local present = granted[resource] or redis.call('HGET', HELD, resource)
  if not present then
    local token, note = ARGV[i + 2], ARGV[i + 5]
    local fence = next_position()
    local deadline = ttl_ms > 0 and math.ceil(now_us / 1000) + ttl_ms
    local packed = cmsgpack.pack(requester, token, fence, deadline, now_ms, kind, LABEL, END_USER, note ~= '' and note, false, false, false, 0)
    granted[resource] = packed
    records[#records + 1] = resource
    records[#records + 1] = packed
    if deadline then
      deadlines[#deadlines + 1] = deadline
      deadlines[#deadlines + 1] = resource
    end
    events[#events + 1] = { fence, 'RESERVED', 'ACQUIRED', false, 'RESERVE', resource, requester, kind, LABEL, fence, deadline, false, false }
    answer('ACQUIRED', token, fence, deadline, requester, deadline, false, false)
  else
    local holder, token, fence, deadline, _, _, _, end_user = cmsgpack.unpack(present)
    if holder == requester and not (END_USER and end_user ~= END_USER) then
      answer('ALREADY_HAD', token, fence, deadline, holder, deadline, false, false)
    else
      local cause = { 'resource', resource, holder, deadline }
      events[#events + 1] = { false, 'RESERVE_FAILED', 'ALREADY_HELD', cause, 'RESERVE', resource, requester, kind, LABEL, false, false, false, false }
      answer('ALREADY_HELD', false, false, false, holder, deadline, 'resource', resource)
    end
  end
end

if HELD_LIMIT > 0 and #records > 0 then
  local held = redis.call('HLEN', HELD)
  if held + #records / 2 > HELD_LIMIT then
    return over_limit('ConcurrentReservations', HELD_LIMIT, held, due or false)
  end
end

if #records > 0 then
  keep(records, deadlines)
end
for _, event in ipairs(events) do
  if event[1] then
    tell(unpack(event))
  else
    tell_refusal(unpack(event, 2))
  end
end
if #records > 0 then
  commit()
else
  commit_refusals()
end
out[3] = position
return cmsgpack.pack(out)
