-- registry: how definitions change, over the plan's view of what is held.
--
-- keys          11 links
-- Members of `links`: c parent\0child, b blocked\0by, n pool\0name that looks like a slot of it
local LINKS = KEYS[11]
local LEVELS_MOST, MOVED_MOST = 32, 10000
local defined_before = {} -- name -> packed definition or false, as it was read
local registered_change = 0 -- resources, a pool of N counting as N
local resized = {} -- pools whose free ranges must be made anew

local function redefine(name, definition)
  if defined_before[name] == nil then
    local present = definition_of(name)
    defined_before[name] = present and cmsgpack.pack(present.capacity, present.blocks, present.ancestors)
  end
  definitions[name] = definition
end

local function first_link(prefix)
  local member = index_find(LINKS, prefix, '[' .. prefix .. '\0', '(' .. prefix .. '\1', false, any)
  return member and string.sub(member, #prefix + 2)
end

local function link_definition(definition, change)
  local parent = definition.ancestors[#definition.ancestors]
  if parent then
    change(LINKS, 'c' .. parent, definition.name)
  end
  for _, block in ipairs(definition.blocks) do
    change(LINKS, 'b' .. block, definition.name)
  end
  local base = as_slot(definition.name)
  if base then
    change(LINKS, 'n' .. base, definition.name)
  end
end

local function unlink_definition(definition)
  link_definition(definition, index_remove)
end

-- What of a definition is held: its name, or nil.
local function held_of(definition)
  if find(definition.name) then
    return definition.name
  end
  local _, slots_held = counts(definition)
  return slots_held > 0 and definition.name or nil
end

-- What keeps a definition from being deleted: why and which, or nil.
local function dependent_on(definition)
  local name = definition.name
  if held_of(definition) then
    return 'is held', name
  end
  local child = first_link('c' .. name)
  if child then
    return 'has a child', child
  end
  local blocked_by = first_link('b' .. name)
  if blocked_by then
    return 'is blocked by', blocked_by
  end
end

local function same(a, b)
  if #a ~= #b then
    return false
  end
  for i, value in ipairs(a) do
    if b[i] ~= value then
      return false
    end
  end
  return true
end

-- What is held at a place or below it: its name, or nil.
local function held_below(name, definition)
  local reservation = find(name)
  if reservation then
    return name
  end
  if definition and held_of(definition) then
    return name
  end
  local member = index_find(TREE, 'd' .. name, '[d' .. name .. '\0', '(d' .. name .. '\1', false, any)
  return member and string.match(member, '(%Z*)$')
end

-- Gives everything below a moved place its new ancestors. Answers why not, or nil.
local function move_below(name, ancestors)
  local queue, moved = { { name, ancestors } }, 0
  while #queue > 0 do
    local parent = table.remove(queue)
    for _, member in ipairs(index_all(LINKS, 'c' .. parent[1])) do
      local child = definition_of(string.sub(member, #parent[1] + 3))
      local above = { unpack(parent[2]) }
      above[#above + 1] = parent[1]
      moved = moved + 1
      if #above >= LEVELS_MOST then
        return 'would have more than 32 levels', child.name
      end
      if moved > MOVED_MOST then
        return 'has more than 10000 resources below it and cannot be moved in one call', name
      end
      redefine(child.name, { name = child.name, capacity = child.capacity, blocks = child.blocks, ancestors = above })
      queue[#queue + 1] = { child.name, above }
    end
  end
end

-- Defines one name. Answers why it cannot be, and the name that is in the way; nil when it can.
local function register_one(name, capacity, blocks, ancestors)
  local before = definition_of(name)
  if before and before.capacity == capacity and same(before.blocks, blocks) and same(before.ancestors, ancestors) then
    return
  end
  local base, index = as_slot(name)
  local pool = base and definition_of(base)
  if pool and pool.capacity > 1 then
    return 'looks like a slot of the pool', base
  end
  if capacity > 1 and first_link('n' .. name) then
    return 'cannot be a pool while this looks like one of its slots', first_link('n' .. name)
  end
  if (before and not same(before.ancestors, ancestors)) or (not before and #ancestors > 0) then
    local held_name = held_below(name, before)
    if held_name then
      return 'cannot get another place in the tree while this is held', held_name
    end
    local why, which = move_below(name, ancestors)
    if why then
      return why, which
    end
  end
  local size_before = before and before.capacity or 1
  if (size_before > 1) ~= (capacity > 1) then
    if size_before > 1 and held_of(before) or size_before == 1 and find(name) then
      return 'cannot become a pool or cease to be one while it is held', name
    end
  end
  if size_before ~= capacity and capacity > 1 then
    resized[name] = true
  end
  registered_change = registered_change + capacity - (before and before.capacity or 0)
  if before then
    unlink_definition(before)
  end
  local definition = { name = name, capacity = capacity, blocks = blocks, ancestors = ancestors }
  redefine(name, definition)
  link_definition(definition, index_add)
end

-- Defines a name and, on the way, its ancestors, which never overwrite.
local function register(name, capacity, blocks, ancestors)
  local above = {}
  for _, ancestor in ipairs(ancestors) do
    local known = definition_of(ancestor)
    if known then
      if not same(known.ancestors, above) then
        return 'contradicts the place in the tree of', ancestor
      end
    else
      local why, which = register_one(ancestor, 1, {}, { unpack(above) })
      if why then
        return why, which
      end
    end
    above[#above + 1] = ancestor
  end
  return register_one(name, capacity, blocks, ancestors)
end

local function registered_total()
  return (tonumber(redis.call('HGET', META, 'resources')) or 0) + registered_change
end

-- The held slots that a pool has or will have, by index: those of its names that are held, whenever they were taken.
local function held_slots(pool)
  local found, count = {}, redis.call('HLEN', HELD)
  if count == 0 then
    return found
  end
  local function note(name, index)
    local reservation = find(name)
    if reservation then
      found[index] = reservation
    end
  end
  -- Beyond the capacity there can be slots of a larger pool that was: the tree's index knows those.
  for _, member in ipairs(index_all(TREE, 's' .. pool.name)) do
    local name = string.match(member, '(%Z*)$')
    note(name, select(2, as_slot(name)))
  end
  if count < pool.capacity then
    for _, name in ipairs(redis.call('HKEYS', HELD)) do
      local base, index = as_slot(name)
      if base == pool.name and index < pool.capacity then
        note(name, index)
      end
    end
    return found
  end
  for first = 0, pool.capacity - 1, 1000 do
    local names = {}
    for index = first, math.min(first + 999, pool.capacity - 1) do
      names[#names + 1] = pool.name .. '_' .. index
    end
    for n, packed in ipairs(redis.call('HMGET', HELD, unpack(names))) do
      if packed then
        note(names[n], first + n - 1)
      end
    end
  end
  return found
end

-- Makes a pool's counts, free ranges and indexes anew from what is held of it.
local function rebuild(pool)
  local name = pool.name
  redis.call('ZREMRANGEBYLEX', SLOTS, '[f' .. name .. '\0', '(f' .. name .. '\1')
  local slots_held, inside, next_free, ranges, indexed, marks = held_slots(pool), 0, 0, {}, {}, {}
  local sorted = {}
  for index in pairs(slots_held) do
    sorted[#sorted + 1] = index
  end
  table.sort(sorted)
  if #sorted == 0 then
    redis.call('HDEL', POOLS, name)
    return
  end
  local fields = {}
  for _, index in ipairs(sorted) do
    local reservation = slots_held[index]
    if index < pool.capacity then
      inside = inside + 1
      if next_free < index then
        ranges[#ranges + 1] = 0
        ranges[#ranges + 1] = range_member(name, next_free, index - 1)
      end
      next_free = index + 1
    end
    local slot = name .. '_' .. index
    place_in_tree(function(_, prefix, rest)
      marks[#marks + 1] = 0
      marks[#marks + 1] = prefix .. '\0' .. rest
    end, pool, reservation[REQUESTER], slot)
    if reservation[TOKEN] then
      fields[#fields + 1] = name .. '\0\0' .. reservation[TOKEN]
      fields[#fields + 1] = slot
      indexed[#indexed + 1] = 0
      indexed[#indexed + 1] = string.format('v%s\0%016d\0%d', name, reservation[FENCE], index)
      if reservation[DEADLINE] then
        indexed[#indexed + 1] = 0
        indexed[#indexed + 1] = 'd' .. name .. '\0' .. deadline_digits(reservation[DEADLINE]) .. '\0' .. index
      end
    end
  end
  if next_free < pool.capacity then
    ranges[#ranges + 1] = 0
    ranges[#ranges + 1] = range_member(name, next_free, pool.capacity - 1)
  end
  fields[#fields + 1] = name
  fields[#fields + 1] = cmsgpack.pack(pool.capacity - inside, #sorted)
  in_pieces('ZADD', SLOTS, ranges)
  in_pieces('ZADD', SLOTS, indexed)
  in_pieces('ZADD', TREE, marks)
  in_pieces('HSET', POOLS, fields)
end

local function write_registry()
  local fields, without = {}, {}
  for name, before in pairs(defined_before) do
    local definition = definitions[name]
    local packed = definition and cmsgpack.pack(definition.capacity, definition.blocks, definition.ancestors)
    if packed ~= before then
      if packed then
        fields[#fields + 1] = name
        fields[#fields + 1] = packed
      elseif before then
        without[#without + 1] = name
      end
    end
  end
  in_pieces('HSET', DEFINITIONS, fields)
  in_pieces('HDEL', DEFINITIONS, without)
  write()
  for name in pairs(resized) do
    rebuild(definitions[name])
  end
  local total = registered_total()
  if total > 0 then
    redis.call('HSET', META, 'resources', total)
  else
    redis.call('HDEL', META, 'resources')
  end
  -- From its first definition on a tenant is served by the scripts over the plan; the version makes every replica look.
  if redis.call('HGET', META, 'defined') ~= '1' then
    redis.call('HSET', META, 'defined', '1')
    version, unsaved = math.max(version + 1, now_us), true
  end
end
