-- unreserve_many: several resources, or one that the caller does not prove to hold.
-- here: caller
local put, unpack_limit, find, sub, byte = struct.pack, cmsgpack.unpack_limit, string.find, string.sub, string.byte
local items = { cmsgpack.unpack(ARGV[2]) }
local count = #items / 4
local names, tokens, known_of, told_of = 0, count, 2 * count, 3 * count -- behind which each begins
local found = call('HMGET', HELD, unpack(items, 1, count))
local gone = ARGV[3] and {} -- names that an earlier item of this call frees
local wrong = {}
local refused = false -- what is told instead of everything else, where a token is `wrong`
-- here: batch
-- here: frees
-- here: groups

for i = 1, count do
  local resource = items[names + i]
  -- here: known
  -- here: claim
  local present = not (gone and gone[resource]) and found[i]
  local has_deadline = present and byte(present, 10) == 207
  local stamped = has_deadline and 27 or 19
  if not present then
    answered = answered + 1
    answers[answered] = pack('NOT_RESERVED')
  elseif find(present, proof, stamped + 1, true) == stamped + 1 then
    -- here: free
    if gone then
      gone[resource] = true
    end
  else
    local _, _, held_until, _, _, holder, resource_type = unpack_limit(present, 6, 0)
    local requester = cmsgpack.unpack(known)
    if holder ~= requester then
      refuse(HEAD .. pack(false, false, false, now_ms, false, 'UNRESERVE_FAILED', 'DOESNT_OWN_RESERVATION',
        { 'resource', resource, holder, held_until }, 'UNRESERVE', resource_type, requester, LABEL, false, false, false, false, resource))
      answered = answered + 1
      answers[answered] = pack('DOESNT_OWN_RESERVATION', holder, held_until)
    else
      refused, wrong[i] = refused or {}, true
      refused[#refused + 1] = HEAD .. pack(false, false, false, now_ms, false, 'UNRESERVE_FAILED', 'INVALID_RELEASE_TOKEN', false, 'UNRESERVE',
        resource_type, requester, LABEL, false, false, false, false, resource)
    end
  end
end

-- here: bad_token
if freed_count > 0 then
  -- here: free_many
end
-- here: end_plain
