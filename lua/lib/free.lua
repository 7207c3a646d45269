-- free: an item of a batch gives `resource` back, rightly.
position = position < now_us and now_us or position + 1
local packed_position, behind = put('>BI8', 207, position), stamped + #proof
-- here: kind
freed_count, any_dated = freed_count + 1, any_dated or has_deadline
freed[freed_count] = resource
-- here: name_head
local c = begin_event(position)
parts[c + 1], parts[c + 2], parts[c + 3], parts[c + 4], parts[c + 5] = HEAD, previous, sub(present, 1, 9), undated, packed_position
parts[c + 6] = '\170UNRESERVED\172RELINQUISHED\194\169UNRESERVE' -- packed: what the event says of itself
parts[c + 7], parts[c + 8], parts[c + 9], parts[c + 10] = kind, told, head, resource
parts_count = c + 10
answered = answered + 1
answers[answered], previous = '\195', packed_position
