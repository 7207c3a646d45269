#!lua
-- reserve_plain: take free resources, each on its own, or tell who has them.
--
-- uses          open, straight, limit, lapse_plain, change, batch_kept, end_plain
-- keys
--   1 meta      hash    position, earliest deadline, credentials
--   2 held      hash    resource -> packed reservation
--   3 deadlines zset    resource -> deadline, ms since epoch
--   4 history   stream  what subscribers are told
--   5 due       zset    tenant -> its earliest deadline (the partition's)
-- args
--   1 caller    see open
--   2 floor     see open
--   3.. packed: requester, resource, ttl in ms or 0, then what the replica knows beforehand: the reservation from its requester on,
--       packed, and the event RESERVED from its position on, packed
-- returns       OK, now_us, position, then per item ACQUIRED, fence, deadline_ms or false, now_ms
--               | ALREADY_HAD, token, fence, deadline_ms or false | ALREADY_HELD, holder, deadline_ms or false
--               | LIMIT, now_us, position, limit type, limit, held, earliest deadline_ms or false
-- cost          O(items * log held)
-- invariants    beyond the held limit nothing is taken; what is held is never taken by another before its deadline
-- Written straight down, without functions: in Redis' Lua making them costs a call a tenth of its time.
local HELD, DEADLINES, HISTORY, DUE = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call, pack, format = redis.call, cmsgpack.pack, string.format
local ACQUIRED = '\168ACQUIRED' -- packed
-- here: lapse_plain
local granted = {} -- name -> packed reservation, taken by an earlier item of this call
-- With room for one item, which most calls have.
local records, deadlines, kept, told, answers = { nil, nil }, { nil, nil }, { nil, nil }, { nil }, { nil }
local previous, earliest, later_ms = last, due, math.ceil(now_us / 1000)
local written_ms, written -- the last deadline and its text: most of a batch are the same, and making it is 3 % of an item

for i = 3, #ARGV do
  local requester, resource, ttl_ms, reservation, event = cmsgpack.unpack(ARGV[i])
  local present = granted[resource] or call('HGET', HELD, resource)
  if not present then
    local fence = position < now_us and now_us or position + 1
    local deadline = ttl_ms > 0 and later_ms + ttl_ms
    local stamp = pack(fence, deadline, now_ms)
    reservation = stamp .. reservation
    granted[resource] = reservation
    records[#records + 1] = resource
    records[#records + 1] = reservation
    if deadline then
      if deadline ~= written_ms then
        written_ms, written = deadline, format('%d', deadline)
      end
      deadlines[#deadlines + 1] = written
      deadlines[#deadlines + 1] = resource
      if not earliest or deadline < earliest then
        earliest = deadline
      end
    end
    event = HEAD .. pack(previous) .. stamp .. event
    kept[#kept + 1] = fence
    kept[#kept + 1] = event
    told[#told + 1] = event
    answers[#answers + 1] = ACQUIRED .. stamp
    previous, position = fence, fence
  else
    local fence, deadline, _, holder, token, _, _, end_user = cmsgpack.unpack(present)
    if holder == requester and not (END_USER and end_user ~= END_USER) then
      answers[#answers + 1] = pack('ALREADY_HAD', token, fence, deadline)
    else
      local _, kind = cmsgpack.unpack(event)
      told[#told + 1] = HEAD .. pack(false, false, false, now_ms, false, kind, 'RESERVE_FAILED', 'ALREADY_HELD',
        { 'resource', resource, holder, deadline }, 'RESERVE', resource, requester, LABEL, false, false, false, false)
      answers[#answers + 1] = pack('ALREADY_HELD', holder, deadline)
    end
  end
end

if #kept > 0 then
  if HELD_LIMIT > 0 then
    local held = call('HLEN', HELD)
    if held + #kept / 2 > HELD_LIMIT then
      if unsaved then
        call('HSET', META, 'state', pack(last, due, upkeep, rate))
      end
      -- here: limit
      return pack(backlog) .. over_held_limit(held)
    end
  end
  for first = 1, #records, 2000 do
    call('HSET', HELD, unpack(records, first, math.min(first + 1999, #records)))
  end
  for first = 1, #deadlines, 2000 do
    call('ZADD', DEADLINES, unpack(deadlines, first, math.min(first + 1999, #deadlines)))
  end
  if earliest ~= due then
    due = earliest
    call('ZADD', DUE, format('%d', due), TENANT)
  end
end
-- here: end_plain
