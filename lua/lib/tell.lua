-- tell: adds the event that item `i` of a batch has become, of `resource`, at `position`. Its parts, packed: `fence`, or false where that is its
-- position; `term`, its deadline and the time; `said`, what it says of itself; `kind`, the resource type, and `told`, what the replica sent.
-- What it has in common with the event before it is not said again, which saves Redis a fifth of a batch. Where something else was asked for
-- before, all is said: the first that is taken or renewed brings a time to live, and what is given back comes before everything else.
if events == TOGETHER or not stands_at then
  close_group()
end
if #resource ~= head_length then
  head_length = #resource
  -- here: name_head
end
local c = parts_count
if not differs then
  parts[c + 1], parts[c + 2], parts[c + 3], parts[c + 4] = '\161S', fence or '\195', head, resource
  parts_count = c + 4
elseif differs == 'told' then
  parts[c + 1], parts[c + 2], parts[c + 3], parts[c + 4], parts[c + 5], parts[c + 6] = '\161T', fence or '\195', kind, told, head, resource
  parts_count, differs = c + 6, false
else
  local at = put('>BI8', 207, position)
  parts[c + 1], parts[c + 2], parts[c + 3], parts[c + 4] = HEAD, put('>BI8', 207, kept_count == 0 and last or position - 1), fence or at, term
  parts[c + 5], parts[c + 6], parts[c + 7], parts[c + 8], parts[c + 9], parts[c + 10] = fence and at or '\195', said, kind, told, head, resource
  parts_count, differs = c + 10, false
end
events, kept_count, stands_at = events + 1, kept_count + 1, position
