-- renew_many: several reservations, or one that the caller does not prove to hold.
-- here: caller
-- here: look_many
local renewed = {} -- name -> packed reservation, moved by an earlier item of this call
local records, deadlines, kept, told, answers, wrong, refused = {}, {}, {}, {}, {}, {}, false
local previous, earliest, later_ms = last, due, math.ceil(now_us / 1000)

for i = 2, #ARGV do
  local requester, resource, given, ttl_ms, event = cmsgpack.unpack(ARGV[i])
  local present = renewed[resource] or found[i - 1]
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
      event = struct.pack('>c0BI8BI8BI8BI8BI8c0c0', HEAD, 207, previous, 207, fence, 207, moved, 207, now_ms, 207, position, pack(kind), event)
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
    -- here: save
  end
  return pack(backlog, 'BAD_TOKEN', now_us, math.max(last, floor)) .. table.concat(wrong)
end

if #kept > 0 then
  -- here: keep_many
end
-- here: end_plain
