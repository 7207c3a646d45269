-- renew_many: several reservations, or one that the caller does not prove to hold.
-- here: caller
local put, unpack_limit, find, sub, byte = struct.pack, cmsgpack.unpack_limit, string.find, string.sub, string.byte
local names, ttls_ms, tokens, who_of, told_of = {}, {}, {}, {}, {}
local count, at = 0, 0
repeat
  count = count + 1
  at, ttls_ms[count], names[count], tokens[count], who_of[count], told_of[count] = unpack_limit(ARGV[2], 5, at)
until at < 0
local found = call('HMGET', HELD, unpack(names))
local records, deadlines, answers, wrong = {}, {}, {}, {}
local moved, refused = 0, false
local earliest, later_ms = due, math.ceil(now_us / 1000)
local previous = put('>BI8', 207, last) -- packed
-- What follows from a time to live: made when another comes, for most of a batch have the same.
local ttl_ms, term, told_term, deadline
local who, told -- what the replica sent of the requester and the event
local kind, told_kind = '\255', nil -- see `kind_told`
-- here: groups

for i = 1, count do
  -- here: claim
  local present = found[i] -- or what an earlier item of this call makes of it: only its deadline differs
  local stamped = present and (byte(present, 10) == 207 and 27 or 19)
  if not present then
    answers[i] = pack('NOT_RESERVED')
  elseif find(present, proof, stamped + 1, true) == stamped + 1 then
    position = position < now_us and now_us or position + 1
    if ttls_ms[i] ~= ttl_ms then
      ttl_ms = ttls_ms[i]
      local deadline_ms = later_ms + ttl_ms
      if not earliest or deadline_ms < earliest then
        earliest = deadline_ms
      end
      deadline, term = format('%d', deadline_ms), put('>BI8', 207, deadline_ms)
      told_term = term .. put('>BI8', 207, now_ms)
    end
    local packed_position, behind = put('>BI8', 207, position), stamped + #proof
    -- here: kind_told
    local fence = sub(present, 1, 9)
    records[2 * moved + 1], records[2 * moved + 2] = resource, fence .. term .. sub(present, stamped - 8)
    deadlines[2 * moved + 1], deadlines[2 * moved + 2] = deadline, resource
    moved = moved + 1
    -- here: name_head
    local c = begin_event(position)
    parts[c + 1], parts[c + 2], parts[c + 3], parts[c + 4], parts[c + 5] = HEAD, previous, fence, told_term, packed_position
    parts[c + 6], parts[c + 7], parts[c + 8] = told_kind, head, resource
    parts_count = c + 8
    answers[i], previous = fence .. term, packed_position
  else
    local _, _, held_until, _, _, holder = unpack_limit(present, 5, 0)
    if holder ~= cmsgpack.unpack(who) then
      answers[i] = pack('DOESNT_OWN_RESERVATION', holder, held_until)
    else
      refused, wrong[i] = {}, true
    end
  end
end

-- here: bad_token
if moved > 0 then
  -- here: keep_many
end
-- here: end_plain
