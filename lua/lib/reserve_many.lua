-- reserve_many: several resources, or one that may not be free, or is one too many.
-- here: caller
-- here: look_many
local ACQUIRED = '\168ACQUIRED' -- packed
local granted = {} -- name -> packed reservation, taken by an earlier item of this call
local records, deadlines, kept, told, answers = {}, {}, {}, {}, {}
local previous, earliest, later_ms = last, due, math.ceil(now_us / 1000)
local written_ms, written -- the last deadline and its text: most of a batch are the same, and making it is 3 % of an item

for i = 2, #ARGV do
  local requester, resource, ttl_ms, reservation, event = cmsgpack.unpack(ARGV[i])
  local present = granted[resource] or found[i - 1]
  if not present then
    local fence = position < now_us and now_us or position + 1
    local deadline = ttl_ms > 0 and later_ms + ttl_ms
    local stamp = deadline and struct.pack('>BI8BI8BI8', 207, fence, 207, deadline, 207, now_ms) or pack(fence, deadline, now_ms)
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
    event = struct.pack('>c0BI8c0c0', HEAD, 207, previous, stamp, event)
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
  if HELD_LIMIT > 0 and held_count + #kept / 2 > HELD_LIMIT then
    if unsaved then
      -- here: save
    end
    -- here: limit
    return pack(backlog) .. over_held_limit(held_count)
  end
  held_count = held_count + #kept / 2
  -- here: keep_many
end
-- here: end_plain
