-- move: item `i` of a batch moves the deadline of `resource`, rightly.
position = position < now_us and now_us or position + 1
if items[ttls + i] ~= moved_ms then
  moved_ms, differs = items[ttls + i], 'all'
  local deadline_ms = later_ms + moved_ms
  if not earliest or deadline_ms < earliest then
    earliest = deadline_ms
  end
  moved, moved_to = format('%d', deadline_ms), put('>BI8', 207, deadline_ms)
  moved_term = moved_to .. put('>BI8', 207, now_ms)
end
local behind = stamped + #proof
-- here: kind
local fence, term, said = sub(present, 1, 9), moved_term, '\167RENEWED\167RENEWED\194\165RENEW'
records[written + 1], records[written + 2] = resource, fence .. moved_to .. sub(present, stamped - 8)
deadlines[dated + 1], deadlines[dated + 2] = moved, resource
written, dated = written + 2, dated + 2
answered = answered + 1
answers[answered] = fence .. moved_to
-- here: tell
