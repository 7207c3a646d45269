-- view: what a call has read of pools, blockers and trees, and what it would change, until it is written at the end.
--
-- keys          6 definitions  7 pools  8 slots  9 uses  10 tree
-- A call works on a view of what it has read; every change of the view goes into a journal, so that a transaction can be taken back by
-- undoing its part. Definitions, positions and what is held are looked up here; `pools`, `plan` and `write` build on it.
--
-- Sorted sets with equal scores are used as ordered indexes (members compare as bytes, and no name contains a NUL):
--   slots  f pool\0first\0last        free slots, as ranges; a pool of which nothing is held has none and is wholly free
--          d pool\0deadline\0index    held slots by their deadline
--          v pool\0fence\0index       held slots by their fence
--   uses   blocker\0deadline\0user    who holds a blocker, by the user's deadline
--   tree   d ancestor\0requester\0held    what is held below an ancestor
--          s pool\0requester\0held        what is held of a pool
local DEFINITIONS, POOLS, SLOTS, USES, TREE = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local TOUCHED_MOST = 10000 -- physical resources that one call may change
local NEVER = string.rep('9', 16) -- the deadline of what has none, in an index

-- The fields of a packed reservation. A blocker that is held only as such has no token.
local FENCE, DEADLINE, SINCE, TOKEN, REQUESTER, KIND, MADE_BY, SUBJECT, NOTE, POOL, PATH, BLOCKERS, USED = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13

local journal, NOTHING = {}, {}
local held, read = {}, {} -- name -> reservation or false: as the call sees it, and as it was read
local pools, pools_read = {}, {} -- field of POOLS -> text or false, likewise
local definitions = {} -- name -> {name, capacity, blocks, ancestors} or false
local taken, freed, lowest = {}, {}, {} -- pool -> index -> true; lowest: below it every slot is taken
local indexes = {} -- key of an ordered index -> {added = prefix -> member -> true, removed = member -> true}
local held_change, touched = 0, 0

local function set(view, key, value)
  local n, before = #journal, view[key]
  if before == nil then
    before = NOTHING
  end
  journal[n + 1], journal[n + 2], journal[n + 3] = view, key, before
  view[key] = value
end

local function mark()
  return { #journal, position, held_change, touched }
end

local function undo(to)
  for n = #journal, to[1] + 3, -3 do
    local before = journal[n]
    if before == NOTHING then
      before = nil
    end
    journal[n - 2][journal[n - 1]] = before
    journal[n], journal[n - 1], journal[n - 2] = nil, nil, nil
  end
  position, held_change, touched = to[2], to[3], to[4]
end

local function remember(name, packed)
  local reservation = packed and { cmsgpack.unpack(packed) } or false
  held[name], read[name] = reservation, reservation
  return reservation
end

local function find(name)
  local reservation = held[name]
  if reservation == nil then
    return remember(name, redis.call('HGET', HELD, name))
  end
  return reservation
end

local function find_all(names)
  local unknown = {}
  for _, name in ipairs(names) do
    if held[name] == nil then
      unknown[#unknown + 1] = name
    end
  end
  if #unknown > 0 then
    for i, packed in ipairs(redis.call('HMGET', HELD, unpack(unknown))) do
      remember(unknown[i], packed)
    end
  end
end

local function pool_field(field)
  if pools[field] == nil then
    pools[field] = redis.call('HGET', POOLS, field)
    pools_read[field] = pools[field]
  end
  return pools[field]
end

local function define(name, packed)
  local definition = false
  if packed then
    local capacity, blocks, ancestors = cmsgpack.unpack(packed)
    definition = { name = name, capacity = capacity, blocks = blocks or {}, ancestors = ancestors or {} }
  end
  definitions[name] = definition
  return definition
end

local function definition_of(name)
  local definition = definitions[name]
  if definition == nil then
    return define(name, redis.call('HGET', DEFINITIONS, name))
  end
  return definition
end

-- The pool and index that a name would have as a slot: "Printer_9" is ("Printer", 9); "Printer_09" is no slot.
local function as_slot(name)
  local base, index = string.match(name, '^(.+)_(%d+)$')
  if base and #index <= 6 and (index == '0' or string.sub(index, 1, 1) ~= '0') then
    return base, tonumber(index)
  end
end

-- Where a name stands: its definition (of a slot: the pool's) or nil, its index in the pool, whether the pool has that index.
local function resolve(name)
  local definition = definition_of(name)
  if definition then
    return definition
  end
  local base, index = as_slot(name)
  local pool = base and definition_of(base)
  if pool and pool.capacity > 1 then
    return pool, index, index < pool.capacity
  end
end

-- How many slots of a pool are free, and how many are held (held ones may lie beyond a capacity that shrank).
local function counts(pool)
  local packed = pool_field(pool.name)
  if packed then
    return cmsgpack.unpack(packed)
  end
  return pool.capacity, 0
end

local function of(tables, key)
  local found = tables[key]
  if not found then
    found = {}
    tables[key] = found
  end
  return found
end

local function index_of(key)
  local index = indexes[key]
  if not index then
    index = { added = {}, removed = {} }
    indexes[key] = index
  end
  return index
end

local function index_add(key, prefix, rest)
  local index, member = index_of(key), prefix .. '\0' .. rest
  if index.removed[member] then
    set(index.removed, member, nil)
  else
    set(of(index.added, prefix), member, true)
  end
end

local function index_remove(key, prefix, rest)
  local index, member = index_of(key), prefix .. '\0' .. rest
  if of(index.added, prefix)[member] then
    set(of(index.added, prefix), member, nil)
  else
    set(index.removed, member, true)
  end
end

-- The first member under `prefix` between two bounds that `passes`, in the order of the index; backwards: the last.
local function index_find(key, prefix, from, to, backwards, passes)
  local index, best = index_of(key), nil
  for member in pairs(of(index.added, prefix)) do
    if passes(member) and (not best or (member < best) ~= (backwards or false)) then
      best = member
    end
  end
  local offset = 0
  repeat
    local page
    if backwards then
      page = redis.call('ZRANGE', key, to, from, 'BYLEX', 'REV', 'LIMIT', offset, 16)
    else
      page = redis.call('ZRANGE', key, from, to, 'BYLEX', 'LIMIT', offset, 16)
    end
    for _, member in ipairs(page) do
      if not index.removed[member] and passes(member) then
        if best and (best < member) ~= (backwards or false) then
          return best
        end
        return member
      end
    end
    offset = offset + 16
  until #page < 16
  return best
end

local function any()
  return true
end

-- Every member under a prefix, as the call sees it.
local function index_all(key, prefix)
  local index, found = index_of(key), {}
  for _, member in ipairs(redis.call('ZRANGE', key, '[' .. prefix .. '\0', '(' .. prefix .. '\1', 'BYLEX')) do
    if not index.removed[member] then
      found[#found + 1] = member
    end
  end
  for member in pairs(of(index.added, prefix)) do
    found[#found + 1] = member
  end
  table.sort(found)
  return found
end

-- What somebody else than the requester holds under a prefix of the tree: its name and holder.
local function stranger(prefix, requester)
  local mine = prefix .. '\0' .. requester .. '\0'
  local function is_other(member)
    return string.sub(member, 1, #mine) ~= mine
  end
  local member = index_find(TREE, prefix, '[' .. prefix .. '\0', '(' .. mine, false, is_other)
    or index_find(TREE, prefix, '[' .. prefix .. '\0' .. requester .. '\1', '(' .. prefix .. '\1', false, is_other)
  if member then
    local holder, name = string.match(member, '^%Z*%z(%Z*)%z(%Z*)$')
    return name, holder
  end
end

local function deadline_digits(deadline)
  return deadline and string.format('%016d', deadline) or NEVER
end

-- When something that is held will be free: the latest of its own deadline and its users'; false: without an end.
local function free_at(name, reservation)
  local latest = reservation[TOKEN] and deadline_digits(reservation[DEADLINE]) or ''
  if reservation[USED] > 0 then
    local member = index_find(USES, name, '[' .. name .. '\0', '(' .. name .. '\1', true, any)
    local users = member and string.sub(member, #name + 2, #name + 17) or ''
    if users > latest then
      latest = users
    end
  end
  return latest ~= NEVER and latest ~= '' and tonumber(latest)
end
