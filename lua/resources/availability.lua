-- availability: what a stranger could take now.
--
-- gives  availability
-- What was found of a name or a place holds for the whole call, so nothing is looked at twice.
availability = {}
local places, things = {}, {} -- name -> whether its place is free; what `availability.of` answered

function availability.reset()
  places, things = {}, {}
end

local function is_anything(prefix)
  spent = spent + 1
  return call('ZRANGE', INDEX, '[' .. prefix .. '\0', '(' .. prefix .. '\1', 'BYLEX', 'LIMIT', '0', '1')[1] ~= nil
end

local function find_place(record)
  local ancestors = record.ancestors
  spent = spent + #ancestors / budget.turns
  for n = 1, #ancestors do
    if look(ancestors[n]) then
      return false
    end
  end
  if record.near % 2 == definitions.NEAR_POOL then
    for n = 1, #ancestors do
      local above = record_of(ancestors[n])
      if above and above.capacity > 1 and look(above.name .. '\0') then
        return false
      end
    end
  end
  return record.children == 0 or not is_anything('t' .. record.name)
end

-- Whether the tree lets a stranger take the place of a record.
local function is_place_free(record)
  local free = places[record.name]
  if free == nil then
    free = find_place(record)
    places[record.name] = free
  end
  return free
end

-- What is seen of a name: its holder, when it ends, its note, how many can have it, how many of these are free, whether tree and name let a
-- stranger take one. Blockers are not considered.
local function see(name)
  local record, slot, exists, node = resolve(name)
  if record and not slot and record.capacity > 1 then
    local free = pools.free(record)
    return { false, free <= 0 and pools.first_deadline(name), false, record.capacity, max(free, 0), free > 0 and is_place_free(record) }
  end
  local packed = look(name)
  if packed then
    local _, _, _, _, _, holder, _, _, _, note_text = unpack_limit(packed, 9, 0)
    return { holder, reservation.free_at(name, packed), note_text, 1, 0, false }
  end
  local is_valid = not node and not (slot and not exists) and (record or not caller.must_be_registered)
  return { false, false, false, 1, is_valid and 1 or 0, is_valid and (not record or is_place_free(record)) or false }
end

local function thing_of(name)
  local thing = things[name]
  if not thing then
    thing = see(name)
    things[name] = thing
  end
  return thing
end

-- The six values of a name, packed.
function availability.of(name)
  local thing = thing_of(name)
  local text = thing.text
  if not text then
    local record = resolve(name)
    local is_takeable = thing[6]
    for n = 1, is_takeable and record and #record.blocks or 0 do
      spent = spent + 1 / budget.turns
      is_takeable = is_takeable and (record.blocks[n] == name or thing_of(record.blocks[n])[6])
    end
    text = pack(thing[1], thing[2], thing[3], thing[4], thing[5], is_takeable)
    thing.text = text
  end
  return text
end
