-- reserve_many: several resources, or one that may not be free, or is one too many.
-- here: caller
local put, unpack_limit = struct.pack, cmsgpack.unpack_limit
local items = { cmsgpack.unpack(ARGV[2]) }
local count = #items / 5
local ttls, names, tokens, known_of, told_of = 0, count, 2 * count, 3 * count, 4 * count -- behind which each begins
local found = call('HMGET', HELD, unpack(items, names + 1, names + count))
local granted = ARGV[3] and {} -- name -> packed reservation, taken by an earlier item of this call
-- here: batch
-- here: grants
-- here: groups

for i = 1, count do
  local resource = items[names + i]
  local present = granted and granted[resource] or found[i]
  -- here: known
  if present then
    -- here: taken
  else
    -- here: grant
    if granted then
      granted[resource] = reservation
    end
  end
end

if taken > 0 then
  if HELD_LIMIT > 0 and held_count + taken > HELD_LIMIT then
    if unsaved then
      -- here: save
    end
    -- here: limit
    return pack(backlog) .. over_held_limit(held_count)
  end
  held_count = held_count + taken
  -- here: keep_many
end
-- here: end_plain
