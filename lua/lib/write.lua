-- write: compares the view with what was read and writes the difference, once, at the end of a call.

local function in_pieces(command, key, arguments)
  for first = 1, #arguments, 2000 do
    redis.call(command, key, unpack(arguments, first, math.min(first + 1999, #arguments)))
  end
end

-- Sorted runs of neighbouring numbers: {first, last}, ...
local function runs(indexes_of)
  local sorted, found = {}, {}
  for index in pairs(indexes_of) do
    sorted[#sorted + 1] = index
  end
  table.sort(sorted)
  for _, index in ipairs(sorted) do
    local run = found[#found]
    if run and run[2] == index - 1 then
      run[2] = index
    else
      found[#found + 1] = { index, index }
    end
  end
  return found
end

local function range_member(pool, first, last)
  return string.format('f%s\0%06d\0%06d', pool, first, last)
end

-- The free range that begins at or before `index`: first, last; nil if there is none.
local function range_at(pool, index)
  local page = redis.call('ZRANGE', SLOTS, string.format('[f%s\0%06d\1', pool, index), '[f' .. pool .. '\0', 'BYLEX', 'REV', 'LIMIT', 0, 1)
  if page[1] then
    local first, last = string.match(page[1], '(%d+)%z(%d+)$')
    return tonumber(first), tonumber(last)
  end
end

local function add_range(pool, first, last)
  if first <= last then
    redis.call('ZADD', SLOTS, 0, range_member(pool, first, last))
  end
end

local function write_ranges(name)
  local pool = definitions[name]
  if not pools_read[name] then
    add_range(name, 0, pool.capacity - 1)
  end
  for _, run in ipairs(runs(of(taken, name))) do
    local first, last = range_at(name, run[1])
    if first and last >= run[2] then
      redis.call('ZREM', SLOTS, range_member(name, first, last))
      add_range(name, first, run[1] - 1)
      add_range(name, run[2] + 1, last)
    end
  end
  for _, run in ipairs(runs(of(freed, name))) do
    local low, high = run[1], run[2]
    local first, last = range_at(name, low)
    if first and last == low - 1 then
      redis.call('ZREM', SLOTS, range_member(name, first, last))
      low = first
    end
    first, last = range_at(name, run[2] + 1)
    if first and first == run[2] + 1 then
      redis.call('ZREM', SLOTS, range_member(name, first, last))
      high = last
    end
    add_range(name, low, high)
  end
end

-- The pools of which a slot within the capacity was taken or given back.
local function used_pools()
  local used = {}
  for _, slots in ipairs({ taken, freed }) do
    for name, indexes_of in pairs(slots) do
      if next(indexes_of) then
        used[name] = true
      end
    end
  end
  return used
end

-- Writes what the call has changed. The events are told by the caller, and commit() ends it.
local function write()
  local records, gone, deadlines, undated = {}, {}, {}, {}
  for name, reservation in pairs(held) do
    local was = read[name] or false
    if reservation ~= was then
      if reservation then
        records[#records + 1] = name
        records[#records + 1] = cmsgpack.pack(unpack(reservation, 1, 13))
      elseif was then
        gone[#gone + 1] = name
      end
      local before, after = was and was[DEADLINE] or false, reservation and reservation[DEADLINE] or false
      if before ~= after then
        if after then
          deadlines[#deadlines + 1] = after
          deadlines[#deadlines + 1] = name
        else
          undated[#undated + 1] = name
        end
      end
    end
  end
  in_pieces('HDEL', HELD, gone)
  in_pieces('ZREM', DEADLINES, undated)
  keep(records, deadlines)
  if #undated > 0 then
    forget_due()
  end
  for key, index in pairs(indexes) do
    local added, removed = {}, {}
    for member in pairs(index.removed) do
      removed[#removed + 1] = member
    end
    for _, members in pairs(index.added) do
      for member in pairs(members) do
        added[#added + 1] = 0
        added[#added + 1] = member
      end
    end
    in_pieces('ZREM', key, removed)
    in_pieces('ZADD', key, added)
  end
  local fields, without, used = {}, {}, used_pools()
  for field, value in pairs(pools) do
    if value ~= pools_read[field] then
      if definitions[field] then
        used[field] = true
      end
      if value then
        fields[#fields + 1] = field
        fields[#fields + 1] = value
      else
        without[#without + 1] = field
      end
    end
  end
  -- Counts may come out as they were while other slots are held, and may change when a slot beyond the capacity is freed: so both count.
  for name in pairs(used) do
    if select(2, counts(definitions[name])) == 0 then
      -- At rest a pool has no trace: it is wholly free again.
      redis.call('ZREMRANGEBYLEX', SLOTS, '[f' .. name .. '\0', '(f' .. name .. '\1')
      without[#without + 1] = name
    else
      write_ranges(name)
    end
  end
  in_pieces('HSET', POOLS, fields)
  in_pieces('HDEL', POOLS, without)
end

-- Begins anew after a part has been written: nothing is remembered but definitions.
local function forget()
  journal, held, read, pools, pools_read, taken, freed, lowest, indexes = {}, {}, {}, {}, {}, {}, {}, {}, {}
  held_change, touched, told, moved_due = 0, 0, {}, false
end

-- Whether the call would change more than one call may.
local function too_many()
  return touched > TOUCHED_MOST
end
