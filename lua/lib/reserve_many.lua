-- reserve_many: several resources, or one that may not be free, or is one too many.
-- here: caller
local put, unpack_limit = struct.pack, cmsgpack.unpack_limit
local names, ttls_ms, tokens, kept_of, told_of = {}, {}, {}, {}, {}
local count, at = 0, 0
repeat
  count = count + 1
  at, ttls_ms[count], names[count], tokens[count], kept_of[count], told_of[count] = unpack_limit(ARGV[2], 5, at)
until at < 0
local found = call('HMGET', HELD, unpack(names))
local granted = ARGV[3] and {} -- name -> packed reservation, taken by an earlier item of this call
local records, deadlines, answers = {}, {}, {}
local taken, dated, answered = 0, 0, 0
local earliest, later_ms = due, math.ceil(now_us / 1000)
local previous = put('>BI8', 207, last) -- packed
-- What follows from a time to live: made when another comes, for most of a batch have the same.
local ttl_ms, term, told_term, deadline
local kept, told -- what the replica sent of the reservation and the event
-- here: groups

for i = 1, count do
  local resource = names[i]
  local present = granted and granted[resource] or found[i]
  if kept_of[i] ~= '' then
    kept, told = kept_of[i], told_of[i]
  end
  if not present then
    position = position < now_us and now_us or position + 1
    local fence = put('>BI8', 207, position)
    if ttls_ms[i] ~= ttl_ms then
      ttl_ms = ttls_ms[i]
      local deadline_ms = ttl_ms > 0 and later_ms + ttl_ms
      if deadline_ms and (not earliest or deadline_ms < earliest) then
        earliest = deadline_ms
      end
      deadline = deadline_ms and format('%d', deadline_ms)
      term = deadline and put('>BI8BI8', 207, deadline_ms, 207, now_ms) or pack(false, now_ms)
      told_term = term .. SAID
    end
    local reservation = fence .. term .. '\176' .. tokens[i] .. kept -- 176: a text of 16 bytes
    if granted then
      granted[resource] = reservation
    end
    records[taken + 1], records[taken + 2] = resource, reservation
    taken = taken + 2
    if deadline then
      deadlines[dated + 1], deadlines[dated + 2] = deadline, resource
      dated = dated + 2
    end
    -- here: name_head
    local c = begin_event(position)
    parts[c + 1], parts[c + 2], parts[c + 3], parts[c + 4], parts[c + 5], parts[c + 6] = HEAD, previous, fence, told_term, told, head
    parts[c + 7] = resource
    parts_count = c + 7
    answers[answered + 1], answers[answered + 2] = fence, term
    answered, previous = answered + 2, fence
  else
    local fence, held_until, _, token, holder, _, _, end_user = cmsgpack.unpack(present)
    local _, requester, kind = unpack_limit(kept, 2, 0)
    answered = answered + 1
    if holder == requester and not (END_USER and end_user ~= END_USER) then
      answers[answered] = pack('ALREADY_HAD', token, fence, held_until)
    else
      parts_count = begin_event(false) + 1
      parts[parts_count] = HEAD .. pack(false, false, false, now_ms, false, 'RESERVE_FAILED', 'ALREADY_HELD', { 'resource', resource, holder, held_until },
        'RESERVE', kind, requester, LABEL, false, false, false, false, resource)
      answers[answered] = pack('ALREADY_HELD', holder, held_until)
    end
  end
end

if taken > 0 then
  if HELD_LIMIT > 0 and held_count + taken / 2 > HELD_LIMIT then
    if unsaved then
      -- here: save
    end
    -- here: limit
    return pack(backlog) .. over_held_limit(held_count)
  end
  held_count = held_count + taken / 2
  -- here: keep_many
end
-- here: end_plain
