-- pools: which slot of a pool is the lowest free one, and what is free and held of it, over the view.
--
-- Free slots are kept as ranges in `slots`. What this call takes and gives back stands beside them until it is written.

-- The lowest free slot of a pool, or nil.
local function lowest_free(pool)
  local name, best = pool.name, nil
  for index in pairs(of(freed, name)) do
    if not best or index < best then
      best = index
    end
  end
  local gone, from = of(taken, name), lowest[name] or 0
  local function first_of(first, last)
    for index = math.max(first, from), last do
      if best and best < index then
        return best
      end
      if not gone[index] then
        return index
      end
    end
  end
  pool_field(name)
  if not pools_read[name] then
    return first_of(0, pool.capacity - 1) or best
  end
  local offset = 0
  repeat
    local page = redis.call('ZRANGE', SLOTS, '[f' .. name .. '\0', '(f' .. name .. '\1', 'BYLEX', 'LIMIT', offset, 16)
    for _, member in ipairs(page) do
      local first, last = string.match(member, '(%d+)%z(%d+)$')
      local found = first_of(tonumber(first), tonumber(last))
      if found then
        return found
      end
    end
    offset = offset + 16
  until #page < 16
  return best
end

local function count_slot(pool, index, free_change, held_by)
  local free, slots_held = counts(pool)
  if index < pool.capacity then
    free = free + free_change
  end
  set(pools, pool.name, cmsgpack.pack(free, slots_held + held_by))
end

local function take_slot(pool, index)
  count_slot(pool, index, -1, 1)
  local name = pool.name
  if of(freed, name)[index] then
    set(freed[name], index, nil)
  else
    set(of(taken, name), index, true)
  end
end

local function give_slot(pool, index)
  count_slot(pool, index, 1, -1)
  local name = pool.name
  if of(taken, name)[index] then
    set(taken[name], index, nil)
    if index < (lowest[name] or 0) then
      set(lowest, name, index)
    end
  elseif index < pool.capacity then
    set(of(freed, name), index, true)
  end
end

-- The earliest deadline of a pool's held slots, or false.
local function earliest_of(pool)
  local function still_so(member)
    local deadline, index = string.match(member, '(%d+)%z(%d+)$')
    local reservation = find(pool.name .. '_' .. tonumber(index))
    return reservation and reservation[TOKEN] and reservation[DEADLINE] == tonumber(deadline)
  end
  local prefix = 'd' .. pool.name
  local member = index_find(SLOTS, prefix, '[' .. prefix .. '\0', '(' .. prefix .. '\1', false, still_so)
  return member and tonumber((string.match(member, '(%d+)%z%d+$'))) or false
end
