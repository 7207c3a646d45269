-- move: item `i` of a batch moves the deadline of `resource`, rightly.
position = position < now_us and now_us or position + 1
if items[ttls + i] ~= moved_ms then
  moved_ms = items[ttls + i]
  local deadline_ms = later_ms + moved_ms
  if not earliest or deadline_ms < earliest then
    earliest = deadline_ms
  end
  moved, moved_to = format('%d', deadline_ms), put('>BI8', 207, deadline_ms)
  told_moved = moved_to .. put('>BI8', 207, now_ms)
end
local packed_position, behind = put('>BI8', 207, position), stamped + #proof
-- here: kind
local fence = sub(present, 1, 9)
records[written + 1], records[written + 2] = resource, fence .. moved_to .. sub(present, stamped - 8)
deadlines[dated + 1], deadlines[dated + 2] = moved, resource
written, dated = written + 2, dated + 2
-- here: name_head
local c = begin_event(position)
parts[c + 1], parts[c + 2], parts[c + 3], parts[c + 4], parts[c + 5] = HEAD, previous, fence, told_moved, packed_position
parts[c + 6] = '\167RENEWED\167RENEWED\194\165RENEW' -- packed: what the event says of itself
parts[c + 7], parts[c + 8], parts[c + 9], parts[c + 10] = kind, told, head, resource
parts_count = c + 10
answered = answered + 1
answers[answered], previous = fence .. moved_to, packed_position
