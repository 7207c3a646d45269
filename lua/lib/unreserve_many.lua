-- unreserve_many: several resources, or one that the caller does not prove to hold.
-- here: caller
local put, unpack_limit, find, sub, byte = struct.pack, cmsgpack.unpack_limit, string.find, string.sub, string.byte
local names, tokens, who_of, told_of = {}, {}, {}, {}
local count, at = 0, 0
repeat
  count = count + 1
  at, names[count], tokens[count], who_of[count], told_of[count] = unpack_limit(ARGV[2], 4, at)
until at < 0
local found = call('HMGET', HELD, unpack(names))
local gone = ARGV[3] and {} -- names that an earlier item of this call frees
local freed, answers, wrong = {}, {}, {}
local freed_count, any_dated = 0, false
local refused = false -- what is told instead of everything else, where a token is `wrong`
local previous, undated = put('>BI8', 207, last), put('>BBI8', 194, 207, now_ms) -- packed
local who, told -- what the replica sent of the requester and the event
local kind, told_kind = '\255', nil -- see `kind_told`
-- here: groups

for i = 1, count do
  -- here: claim
  local present = not (gone and gone[resource]) and found[i]
  local dated = present and byte(present, 10) == 207
  local stamped = dated and 27 or 19
  if not present then
    answers[i] = pack('NOT_RESERVED')
  elseif find(present, proof, stamped + 1, true) == stamped + 1 then
    position = position < now_us and now_us or position + 1
    local packed_position, behind = put('>BI8', 207, position), stamped + #proof
    -- here: kind_told
    if gone then
      gone[resource] = true
    end
    freed_count, any_dated = freed_count + 1, any_dated or dated
    freed[freed_count] = resource
    -- here: name_head
    local c = begin_event(position)
    parts[c + 1], parts[c + 2], parts[c + 3], parts[c + 4] = HEAD, previous, sub(present, 1, 9), undated
    parts[c + 5], parts[c + 6], parts[c + 7], parts[c + 8] = packed_position, told_kind, head, resource
    parts_count = c + 8
    answers[i], previous = '\195', packed_position
  else
    local _, _, held_until, _, _, holder, resource_type = unpack_limit(present, 6, 0)
    local requester = cmsgpack.unpack(who)
    if holder ~= requester then
      parts_count = begin_event(false) + 1
      parts[parts_count] = HEAD .. pack(false, false, false, now_ms, false, 'UNRESERVE_FAILED', 'DOESNT_OWN_RESERVATION',
        { 'resource', resource, holder, held_until }, 'UNRESERVE', resource_type, requester, LABEL, false, false, false, false, resource)
      answers[i] = pack('DOESNT_OWN_RESERVATION', holder, held_until)
    else
      refused, wrong[i] = refused or {}, true
      refused[#refused + 1] = HEAD .. pack(false, false, false, now_ms, false, 'UNRESERVE_FAILED', 'INVALID_RELEASE_TOKEN', false, 'UNRESERVE',
        resource_type, requester, LABEL, false, false, false, false, resource)
    end
  end
end

-- here: bad_token
if freed_count > 0 then
  for first = 1, freed_count, 2000 do
    call('HDEL', HELD, unpack(freed, first, math.min(first + 1999, freed_count)))
  end
  if any_dated then
    for first = 1, freed_count, 2000 do
      call('ZREM', DEADLINES, unpack(freed, first, math.min(first + 1999, freed_count)))
    end
    -- The earliest deadline stays behind as a lower bound, but where none is left none may stay.
    if call('EXISTS', DEADLINES) == 0 then
      due = false
      call('ZREM', DUE, TENANT)
    end
  end
  held_count = held_count and held_count - freed_count
end
-- here: end_plain
