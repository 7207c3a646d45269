-- free: an item of a batch gives `resource` back, rightly.
position = position < now_us and now_us or position + 1
local behind = stamped + #proof
-- here: kind
freed_count, any_dated = freed_count + 1, any_dated or has_deadline
freed[freed_count] = resource
local fence, term, said = sub(present, 1, 9), undated, '\170UNRESERVED\172RELINQUISHED\194\169UNRESERVE'
-- here: tell
answered = answered + 1
answers[answered] = '\195'
