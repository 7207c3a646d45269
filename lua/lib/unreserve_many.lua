-- unreserve_many: several resources, or one that the caller does not prove to hold.
-- here: caller
-- here: look_many
local RELINQUISHED = '\172RELINQUISHED' -- packed
local gone = {} -- names that an earlier item of this call frees
local names, kept, told, answers, wrong = {}, {}, {}, {}, {}
local refused, dated = false, false
local previous = last

for i = 2, #ARGV do
  local requester, resource, given, event = cmsgpack.unpack(ARGV[i])
  local present = not gone[resource] and found[i - 1]
  local bad = false
  if not present then
    answers[#answers + 1] = pack('NOT_RESERVED')
  else
    local _, fence, deadline, _, holder, token, kind = cmsgpack.unpack_limit(present, 6, 0)
    if holder ~= requester then
      told[#told + 1] = HEAD .. pack(false, false, false, now_ms, false, kind, 'UNRESERVE_FAILED', 'DOESNT_OWN_RESERVATION',
        { 'resource', resource, holder, deadline }, 'UNRESERVE', resource, requester, LABEL, false, false, false, false)
      answers[#answers + 1] = pack('DOESNT_OWN_RESERVATION', holder, deadline)
    elseif token ~= given then
      bad = true
      if not refused then
        refused = {} -- what is told instead of everything else
      end
      refused[#refused + 1] = HEAD .. pack(false, false, false, now_ms, false, kind, 'UNRESERVE_FAILED', 'INVALID_RELEASE_TOKEN', false, 'UNRESERVE',
        resource, requester, LABEL, false, false, false, false)
    else
      position = position < now_us and now_us or position + 1
      event = struct.pack('>c0BI8BI8BBI8BI8c0c0', HEAD, 207, previous, 207, fence, 194, 207, now_ms, 207, position, pack(kind), event)
      gone[resource] = true
      names[#names + 1] = resource
      dated = dated or deadline
      kept[#kept + 1] = position
      kept[#kept + 1] = event
      told[#told + 1] = event
      answers[#answers + 1] = RELINQUISHED
      previous = position
    end
  end
  wrong[#wrong + 1] = bad and '\195' or '\194' -- packed
end

if refused then
  if unsaved then
    -- here: save
  end
  call(PUBLISH, CHANNEL, table.concat(refused))
  return pack(backlog, 'BAD_TOKEN', now_us, math.max(last, floor)) .. table.concat(wrong)
end

if #names > 0 then
  for first = 1, #names, 2000 do
    call('HDEL', HELD, unpack(names, first, math.min(first + 1999, #names)))
  end
  if dated then
    for first = 1, #names, 2000 do
      call('ZREM', DEADLINES, unpack(names, first, math.min(first + 1999, #names)))
    end
    -- The earliest deadline stays behind as a lower bound, but where none is left none may stay.
    if call('EXISTS', DEADLINES) == 0 then
      due = false
      call('ZREM', DUE, TENANT)
    end
  end
  held_count = held_count and held_count - #names
end
-- here: end_plain
