-- bitmap: which range of the tenant's bitmap a pool has.
--
-- gives  bitmap
-- Ranges are whole bytes. What no pool has is free, and zero; it is used again before the bitmap grows. A pool that grows beyond its range gets
-- another, and its bits are copied; a range that shrinks gives its end back unless slots there are held.
bitmap = {}

function bitmap.open()
  registry.read()
end

local function bytes_of(bits)
  return ceil(bits / 8) * 8
end

-- Gives a range back; neighbours become one.
local function free_range(first, length)
  if length <= 0 then
    return
  end
  local ranges, kept_ranges = registry.ranges, {}
  for n = 1, #ranges, 2 do
    local from, bits = ranges[n], ranges[n + 1]
    if from + bits == first then
      first, length = from, length + bits
    elseif first + length == from then
      length = length + bits
    else
      kept_ranges[#kept_ranges + 1] = from
      kept_ranges[#kept_ranges + 1] = bits
    end
  end
  spent = spent + #ranges / budget.turns
  if first + length == registry.ends then
    registry.ends = first
  else
    kept_ranges[#kept_ranges + 1] = first
    kept_ranges[#kept_ranges + 1] = length
  end
  registry.ranges = kept_ranges
end

local function take_range(length)
  local ranges = registry.ranges
  spent = spent + #ranges / budget.turns
  for n = 1, #ranges, 2 do
    if ranges[n + 1] >= length then
      local first, left = ranges[n], ranges[n + 1] - length
      ranges[n], ranges[n + 1] = first + length, left
      if left == 0 then
        table.remove(ranges, n + 1)
        table.remove(ranges, n)
      end
      return first
    end
  end
  local first = registry.ends
  registry.ends = first + length
  return first
end

-- Counts what is held of a pool anew: its capacity has changed.
local function recount(draft)
  local function held_in(from, to)
    spent = spent + 1
    return from <= to and call('BITCOUNT', SLOTS, digits(draft.first_bit + from), digits(draft.first_bit + to), 'BIT') or 0
  end
  pools.set(draft.name, held_in(0, draft.capacity - 1), held_in(draft.capacity, draft.extent - 1), draft.capacity)
end

-- Gives a draft a range that fits its capacity.
function bitmap.fit(draft)
  local needed = not draft.is_gone and draft.capacity > 1 and bytes_of(draft.capacity) or 0
  local before = draft.before
  local is_held = look(draft.name .. '\0')
  if needed > draft.extent then
    local first = take_range(needed)
    if is_held then
      local from = draft.first_bit / 8
      local bits = call('GETRANGE', SLOTS, digits(from), digits(from + draft.extent / 8 - 1))
      call('SETRANGE', SLOTS, digits(first / 8), bits)
      call('SETRANGE', SLOTS, digits(from), string.rep('\0', #bits))
    end
    free_range(draft.first_bit, draft.extent)
    draft.first_bit, draft.extent = first, needed
  end
  if is_held and before and before.capacity ~= draft.capacity then
    recount(draft)
  end
  if needed < draft.extent and not (is_held and pools.beyond(draft.name)) then
    free_range(draft.first_bit + needed, draft.extent - needed)
    draft.extent = needed
    if needed == 0 then
      draft.first_bit = 0
    end
  end
end

-- Writes the last bit: beyond the end of the bitmap nothing would be free.
function bitmap.close()
  if registry.ends > 0 then
    call('SETBIT', SLOTS, digits(registry.ends), '0')
  end
end

-- What is held by names of this pool has to be looked through.
function bitmap.unsettle(name)
  if held_count == 0 then
    return
  end
  local names = registry.pools
  for n = 1, #names do
    if names[n] == name then
      names[n] = names[#names]
      names[#names] = nil
      break
    end
  end
  names[#names + 1] = name
  registry.cursor, unsettled, is_unsaved = '0', 1, true
end
