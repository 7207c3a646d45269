-- grant: item `i` of a batch takes `resource`, which is free; `reservation` becomes what is kept of it.
position = position < now_us and now_us or position + 1
local fence = put('>BI8', 207, position)
if items[ttls + i] ~= ttl_ms then
  ttl_ms = items[ttls + i]
  local deadline_ms = ttl_ms > 0 and later_ms + ttl_ms
  if deadline_ms and (not earliest or deadline_ms < earliest) then
    earliest = deadline_ms
  end
  deadline = deadline_ms and format('%d', deadline_ms)
  term = deadline and put('>BI8BI8', 207, deadline_ms, 207, now_ms) or pack(false, now_ms)
  told_term = term .. '\195\168RESERVED\168ACQUIRED\194\167RESERVE' -- packed: its position is its fence; what the event says of itself
end
local reservation = fence .. term .. '\176' .. items[tokens + i] .. kept -- 176: a text of 16 bytes
records[written + 1], records[written + 2] = resource, reservation
written, taken = written + 2, taken + 1
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
