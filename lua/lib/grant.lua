-- grant: item `i` of a batch takes `resource`, which is free; `reservation` becomes what is kept of it.
position = position < now_us and now_us or position + 1
if items[ttls + i] ~= ttl_ms then
  ttl_ms, differs = items[ttls + i], 'all'
  local deadline_ms = ttl_ms > 0 and later_ms + ttl_ms
  if deadline_ms and (not earliest or deadline_ms < earliest) then
    earliest = deadline_ms
  end
  deadline = deadline_ms and format('%d', deadline_ms)
  term = deadline and put('>BI8BI8', 207, deadline_ms, 207, now_ms) or pack(false, now_ms)
end
local packed_position = put('>BI8', 207, position)
local reservation = packed_position .. term .. '\176' .. items[tokens + i] .. known -- 176: a text of 16 bytes
records[written + 1], records[written + 2] = resource, reservation
written, taken = written + 2, taken + 1
if deadline then
  deadlines[dated + 1], deadlines[dated + 2] = deadline, resource
  dated = dated + 2
end
answers[answered + 1], answers[answered + 2] = packed_position, term
answered = answered + 2
local fence, said, kind = false, '\168RESERVED\168ACQUIRED\194\167RESERVE', '' -- what was sent of the event begins with the resource type
-- here: tell
