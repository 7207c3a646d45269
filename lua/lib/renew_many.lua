-- renew_many: several reservations, or one that the caller does not prove to hold.
-- here: caller
local put, unpack_limit, find, sub, byte = struct.pack, cmsgpack.unpack_limit, string.find, string.sub, string.byte
local items = { cmsgpack.unpack(ARGV[2]) }
local count = #items / 5
local ttls, names, tokens, known_of, told_of = 0, count, 2 * count, 3 * count, 4 * count -- behind which each begins
local found = call('HMGET', HELD, unpack(items, names + 1, names + count))
local wrong, refused = {}, false
-- here: batch
-- here: moves
-- here: groups

for i = 1, count do
  local resource = items[names + i]
  -- here: known
  -- here: claim
  local present = found[i] -- or what an earlier item of this call makes of it: only its deadline differs
  local stamped = present and (byte(present, 10) == 207 and 27 or 19)
  if not present then
    answered = answered + 1
    answers[answered] = pack('NOT_RESERVED')
  elseif find(present, proof, stamped + 1, true) == stamped + 1 then
    -- here: move
  else
    local _, _, held_until, _, _, holder = unpack_limit(present, 5, 0)
    if holder ~= cmsgpack.unpack(known) then
      answered = answered + 1
      answers[answered] = pack('DOESNT_OWN_RESERVATION', holder, held_until)
    else
      refused, wrong[i] = {}, true
    end
  end
end

-- here: bad_token
if written > 0 then
  -- here: keep_many
end
-- here: end_plain
