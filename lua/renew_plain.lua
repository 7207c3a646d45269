#!lua flags=allow-oom
-- renew_plain: move the deadline of what the caller proves it holds.
--
-- uses          open, straight, lapse_plain, change, batch_kept, end_plain
-- keys
--   1 meta      hash    position, earliest deadline, credentials
--   2 held      hash    resource -> packed reservation
--   3 deadlines zset    resource -> deadline, ms since epoch
--   4 history   stream  what subscribers are told
--   5 due       zset    tenant -> its earliest deadline (the partition's)
-- args
--   1 caller    see open
--   2 floor     see open
--   3.. packed: requester, resource, release token (empty when the caller sent none), ttl in ms, and what the replica knows beforehand of
--       the event RENEWED: all behind its resource type, packed
-- returns       OK, now_us, position, then per item RENEWED, fence, deadline_ms | NOT_RESERVED
--               | DOESNT_OWN_RESERVATION, holder, deadline_ms or false
--               | BAD_TOKEN, now_us, position, then true per item whose token is wrong, false for the others
-- cost          O(items * log held)
-- invariants    a refusal leaves every key as it was; a lapsed reservation is never revived; the fence stays
-- Written straight down, without functions: in Redis' Lua making them costs a call a tenth of its time.
local HELD, DEADLINES, HISTORY, DUE = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call, pack, format = redis.call, cmsgpack.pack, string.format
-- here: lapse_plain
local renewed = {} -- name -> packed reservation, moved by an earlier item of this call
local records, deadlines, kept, told, answers, wrong, refused = {}, {}, {}, {}, {}, {}, false
local previous, earliest, later_ms = last, due, math.ceil(now_us / 1000)

for i = 3, #ARGV do
  local requester, resource, given, ttl_ms, event = cmsgpack.unpack(ARGV[i])
  local present = renewed[resource] or call('HGET', HELD, resource)
  local bad = false
  if not present then
    answers[#answers + 1] = pack('NOT_RESERVED')
  else
    local fence, deadline, since, holder, token, kind, label, end_user, note = cmsgpack.unpack(present)
    if holder ~= requester then
      answers[#answers + 1] = pack('DOESNT_OWN_RESERVATION', holder, deadline)
    elseif token ~= given then
      bad, refused = true, true
    else
      local moved = later_ms + ttl_ms
      local reservation = pack(fence, moved, since, holder, token, kind, label, end_user, note, false, false, false, 0)
      position = position < now_us and now_us or position + 1
      event = HEAD .. pack(previous, fence, moved, now_ms, position, kind) .. event
      renewed[resource] = reservation
      records[#records + 1] = resource
      records[#records + 1] = reservation
      deadlines[#deadlines + 1] = format('%d', moved)
      deadlines[#deadlines + 1] = resource
      if not earliest or moved < earliest then
        earliest = moved
      end
      kept[#kept + 1] = position
      kept[#kept + 1] = event
      told[#told + 1] = event
      answers[#answers + 1] = pack('RENEWED', fence, moved)
      previous = position
    end
  end
  wrong[#wrong + 1] = bad and '\195' or '\194' -- packed
end

if refused then
  if unsaved then
    call('HSET', META, 'state', pack(last, due, upkeep, rate))
  end
  return pack(backlog, 'BAD_TOKEN', now_us, math.max(last, floor)) .. table.concat(wrong)
end

if #kept > 0 then
  for first = 1, #records, 2000 do
    call('HSET', HELD, unpack(records, first, math.min(first + 1999, #records)))
    call('ZADD', DEADLINES, unpack(deadlines, first, math.min(first + 1999, #deadlines)))
  end
  if earliest ~= due then
    due = earliest
    call('ZADD', DUE, format('%d', due), TENANT)
  end
end
-- here: end_plain
