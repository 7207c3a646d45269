-- look: what scripts that change nothing see of reservations; what has lapsed is not there, though nobody has ended it yet.
--
-- keys          2 held  3 definitions  4 pools  5 slots  6 uses  7 tree
-- The fields of a packed reservation: see lib/view.lua.
local FENCE, DEADLINE, SINCE, TOKEN, REQUESTER, KIND, MADE_BY, SUBJECT, NOTE, POOL, PATH, BLOCKERS, USED = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
local HELD, DEFINITIONS, POOLS, SLOTS, USES, TREE = KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]

local function under(prefix)
  return '[' .. prefix .. '\0', '(' .. prefix .. '\1'
end

-- When a reservation ends as a whole: the latest of its own deadline and those of whom it blocks for; false: without an end.
local function free_at(name, reservation)
  local own, latest = reservation[TOKEN] and (reservation[DEADLINE] or math.huge) or 0, 0
  if reservation[USED] > 0 then
    local from, to = under(name)
    local member = redis.call('ZRANGE', USES, to, from, 'BYLEX', 'REV', 'LIMIT', 0, 1)[1]
    latest = member and tonumber(string.sub(member, #name + 2, #name + 17)) or 0
    if latest >= 9999999999999999 then
      latest = math.huge
    end
  end
  latest = math.max(own, latest)
  return latest < math.huge and latest
end

local function live(name, packed)
  if packed then
    local reservation = { cmsgpack.unpack(packed) }
    local ends = free_at(name, reservation)
    if not ends or ends > now_ms then
      return reservation
    end
  end
  return false
end

local function find(name)
  return live(name, redis.call('HGET', HELD, name))
end

local function definition_of(name)
  local packed = redis.call('HGET', DEFINITIONS, name)
  if packed then
    local capacity, blocks, ancestors = cmsgpack.unpack(packed)
    return { name = name, capacity = capacity, blocks = blocks, ancestors = ancestors }
  end
end

-- Where a name stands: its definition (of a slot: the pool's), its index, whether the pool has that index.
local function resolve(name)
  local definition = definition_of(name)
  if definition then
    return definition
  end
  local base, index = string.match(name, '^(.+)_(%d+)$')
  if base and #index <= 6 and (index == '0' or string.sub(index, 1, 1) ~= '0') then
    local pool = definition_of(base)
    if pool and pool.capacity > 1 then
      return pool, tonumber(index), tonumber(index) < pool.capacity
    end
  end
end

-- How many slots of a pool are free, and the earliest deadline of the others. While something has lapsed that nobody has ended yet, for
-- a moment, the counts are not to be trusted and each held slot is looked at.
local function free_slots(pool)
  local packed = redis.call('HGET', POOLS, pool.name)
  local free, slots_held = pool.capacity, 0
  if packed then
    free, slots_held = cmsgpack.unpack(packed)
  end
  if due and due <= now_ms and slots_held > 0 then
    local earliest = false
    free = pool.capacity
    local from, to = under('s' .. pool.name)
    for _, member in ipairs(redis.call('ZRANGE', TREE, from, to, 'BYLEX')) do
      local name = string.match(member, '(%Z*)$')
      local reservation, index = find(name), tonumber(string.match(name, '(%d+)$'))
      if reservation then
        free = index < pool.capacity and free - 1 or free
        if reservation[TOKEN] and reservation[DEADLINE] and reservation[DEADLINE] > now_ms then
          earliest = math.min(earliest or reservation[DEADLINE], reservation[DEADLINE])
        end
      end
    end
    return free, earliest
  end
  local from, to = under('d' .. pool.name)
  local first = redis.call('ZRANGE', SLOTS, from, to, 'BYLEX', 'LIMIT', 0, 1)[1]
  return free, first and tonumber((string.match(first, '(%d+)%z%d+$'))) or false
end

-- Whether anything live stands in the tree's index under a prefix.
local function anything(prefix)
  local from, to = under(prefix)
  local offset = 0
  repeat
    local page = redis.call('ZRANGE', TREE, from, to, 'BYLEX', 'LIMIT', offset, 64)
    for _, member in ipairs(page) do
      if find(string.match(member, '(%Z*)$')) then
        return true
      end
    end
    offset = offset + 64
  until #page < 64
  return false
end

-- Whether the tree lets a stranger take a place.
local function place_is_free(definition)
  for _, ancestor in ipairs(definition.ancestors) do
    if find(ancestor) or anything('s' .. ancestor) then
      return false
    end
  end
  return not anything('d' .. definition.name)
end

-- Whether tree and blockers let a stranger take something of this definition that is itself free.
local function takeable(definition)
  if not place_is_free(definition) then
    return false
  end
  for _, block in ipairs(definition.blocks) do
    local blocker, index, exists = resolve(block)
    if blocker and blocker.capacity > 1 and not index then
      if (free_slots(blocker)) == 0 or not place_is_free(blocker) then
        return false
      end
    elseif find(block) or (index and not exists) or (blocker and not place_is_free(blocker)) then
      return false
    end
  end
  return true
end
