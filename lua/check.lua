#!lua flags=allow-oom
-- check: who holds these resources, and could a stranger take them now?
--
-- uses          open, look
-- keys
--   1 meta         hash    position, credentials
--   2 held         hash    resource -> packed reservation
--   3 definitions  hash    resource -> packed definition
--   4 pools        hash    pool -> packed counts; who holds which slot
--   5 slots        zset    free ranges, deadlines and fences of pools
--   6 uses         zset    who holds a blocker
--   7 tree         zset    what is held below an ancestor
-- args
--   1 caller       see open
--   2.. resources
-- returns       OK, now_us, position, then per resource: holder, deadline_ms, note, capacity, available, a stranger could take it
-- cost          O(resources * (depth + blocks) * log held)
local out = { 'OK', now_us, position }
for i = 2, #ARGV do
  local name = ARGV[i]
  local n = #out
  local reservation, definition, index, exists = find(name), resolve(name)
  if definition and definition.capacity > 1 and not index then
    local free, earliest = free_slots(definition)
    out[n + 1], out[n + 2], out[n + 3] = false, free == 0 and earliest, false
    out[n + 4], out[n + 5], out[n + 6] = definition.capacity, free, free > 0 and takeable(definition)
  else
    local valid = not ((definition and index and not exists) or (not definition and REQUIRE_REGISTRATION))
    out[n + 1] = reservation and reservation[REQUESTER]
    out[n + 2] = reservation and free_at(name, reservation)
    out[n + 3] = reservation and reservation[NOTE]
    out[n + 4], out[n + 5] = 1, (reservation or not valid) and 0 or 1
    out[n + 6] = not reservation and valid and (not definition or takeable(definition))
  end
end
return cmsgpack.pack(out)
