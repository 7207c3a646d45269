-- plan: pools, blockers and trees: what a call would change, planned to its end before anything is written.
--
-- keys          6 definitions  7 pools  8 slots  9 uses  10 tree
-- A call works on a view of what it has read; every change of the view goes into a journal, so that a transaction can be taken
-- back by undoing its part. write() compares the view with what was read and writes the difference, once, at the end.
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
local REQUESTER, TOKEN, FENCE, DEADLINE, SINCE, KIND, MADE_BY, SUBJECT, NOTE, POOL, PATH, BLOCKERS, USED = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13

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

-- --- what is there --------------------------------------------------------------------------------------------------

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

-- --- ordered indexes ------------------------------------------------------------------------------------------------

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

-- --- pools ----------------------------------------------------------------------------------------------------------

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

-- --- holding and freeing --------------------------------------------------------------------------------------------

-- Changes fields of a reservation; the one that was read stays as it is.
local function alter(name, reservation, changes)
  local altered = {}
  for field = 1, 13 do
    altered[field] = reservation[field]
  end
  for field, value in pairs(changes) do
    altered[field] = value
  end
  set(held, name, altered)
  return altered
end

local function place_in_tree(change, definition, requester, name)
  if definition.capacity > 1 then
    change(TREE, 's' .. definition.name, requester .. '\0' .. name)
  end
  for _, ancestor in ipairs(definition.ancestors) do
    change(TREE, 'd' .. ancestor, requester .. '\0' .. name)
  end
end

-- Who of the tree refuses a requester this place: kind, name, holder, when it will be free; nil if nobody.
local function refused_by_tree(definition, requester)
  if #definition.ancestors > 0 then
    find_all(definition.ancestors)
    for _, ancestor in ipairs(definition.ancestors) do
      local reservation = held[ancestor]
      if reservation and reservation[REQUESTER] ~= requester then
        return 'ancestor', ancestor, reservation[REQUESTER], free_at(ancestor, reservation)
      end
      local above = definition_of(ancestor)
      if above and above.capacity > 1 then
        local name, holder = stranger('s' .. ancestor, requester)
        if name then
          return 'ancestor', name, holder, free_at(name, find(name))
        end
      end
    end
  end
  local name, holder = stranger('d' .. definition.name, requester)
  if name then
    return 'descendant', name, holder, free_at(name, find(name))
  end
end

local function path_of(definition, name)
  if #definition.ancestors > 0 then
    return table.concat(definition.ancestors, '>') .. '>' .. name
  end
  return false
end

-- The physical thing behind a name for a requester: which, whether it is to be taken newly, or why it cannot be had
-- (status, kind, name, holder, when it will be free).
local function choose(requester, name)
  local reservation = find(name)
  local definition, index, exists = resolve(name)
  if reservation then
    if reservation[REQUESTER] ~= requester then
      return nil, false, 'ALREADY_HELD', 'resource', name, reservation[REQUESTER], free_at(name, reservation)
    end
    return name, false
  end
  local physical = name
  if definition and definition.capacity > 1 and not index then
    local mine = pool_field(name .. '\0' .. requester)
    if mine then
      find(mine)
      return mine, false
    end
    index, exists = lowest_free(definition), true
    if not index then
      return nil, false, 'NOT_AVAILABLE', 'pool', name, false, earliest_of(definition)
    end
    physical = name .. '_' .. index
    find(physical)
  end
  if (definition and index and not exists) or (not definition and REQUIRE_REGISTRATION) then
    return nil, false, 'NOT_VALID', 'registration', name, false, false
  end
  if definition then
    local kind, in_the_way, holder, until_ms = refused_by_tree(definition, requester)
    if kind then
      return nil, false, 'ALREADY_HELD', kind, in_the_way, holder, until_ms
    end
  end
  return physical, true
end

-- Where something that is held stands: as resolve(), but a plain name that only looks like a slot, beyond the pool's capacity, stands
-- nowhere. A slot from when the pool was larger is known by the tree's index.
local function standing(name, requester)
  local definition, index, exists = resolve(name)
  if index and not exists then
    local prefix, rest = 's' .. definition.name, requester .. '\0' .. name
    local member = prefix .. '\0' .. rest
    if not of(index_of(TREE).added, prefix)[member] and not redis.call('ZSCORE', TREE, member) then
      return nil
    end
  end
  return definition, index
end

-- Makes a physical thing held by a requester, as yet without a token.
local function occupy(requester, named, physical, fence, kind)
  local definition, index = resolve(physical)
  local pool, path = false, false
  if definition then
    path = path_of(definition, physical)
    place_in_tree(index_add, definition, requester, physical)
    if index then
      pool = definition.name
      take_slot(definition, index)
      if named == pool then
        set(pools, pool .. '\0' .. requester, physical)
        set(lowest, pool, index + 1)
      end
    end
  end
  held_change, touched = held_change + 1, touched + 1
  set(held, physical, { requester, false, fence, false, now_ms, kind, LABEL, END_USER, false, pool, path, false, 0 })
end

-- Frees a physical thing that nothing holds any more.
local function vacate(name, reservation, released)
  local definition, index = standing(name, reservation[REQUESTER])
  if definition then
    place_in_tree(index_remove, definition, reservation[REQUESTER], name)
    if index then
      give_slot(definition, index)
      local via = definition.name .. '\0' .. reservation[REQUESTER]
      if pool_field(via) == name then
        set(pools, via, false)
      end
    end
  end
  held_change, touched = held_change - 1, touched + 1
  set(held, name, false)
  released[#released + 1] = name
end

-- Reserves a name. Answers: status, physical name, reservation | status, nil, nil, kind, name, holder, when it will be free
local function take(requester, name, token, ttl_ms, kind, note, fence)
  local physical, new, status, obstacle, in_the_way, holder, until_ms = choose(requester, name)
  if not physical then
    return status, nil, nil, obstacle, in_the_way, holder, until_ms
  end
  local present = held[physical]
  if present and present[TOKEN] then
    if END_USER and present[SUBJECT] ~= END_USER then
      return 'ALREADY_HELD', nil, nil, 'resource', physical, requester, free_at(physical, present)
    end
    return 'ALREADY_HAD', physical, present
  end
  local before = mark()
  if new then
    occupy(requester, name, physical, fence, kind)
  end
  local deadline = ttl_ms > 0 and math.ceil(now_us / 1000) + ttl_ms
  local blockers, definition, index = false, standing(physical, requester)
  for _, block in ipairs(definition and definition.blocks or {}) do
    local blocker, is_new, refusal, why, what, who, when = choose(requester, block)
    if not blocker then
      undo(before)
      return refusal, nil, nil, (why == 'resource' or why == 'pool') and 'blocker' or why, what, who, when
    end
    if blocker ~= physical then
      if is_new then
        occupy(requester, block, blocker, fence, kind)
      end
      alter(blocker, held[blocker], { [USED] = held[blocker][USED] + 1 })
      index_add(USES, blocker, deadline_digits(deadline) .. '\0' .. physical)
      blockers = blockers or {}
      blockers[#blockers + 1] = blocker
    end
  end
  local reservation = alter(physical, held[physical], {
    [TOKEN] = token, [FENCE] = fence, [DEADLINE] = deadline, [SINCE] = now_ms, [KIND] = kind, [MADE_BY] = LABEL, [SUBJECT] = END_USER,
    [NOTE] = note ~= '' and note, [POOL] = index and definition.name or false, [BLOCKERS] = blockers,
  })
  if index then
    local pool = definition.name
    set(pools, pool .. '\0\0' .. token, physical)
    index_add(SLOTS, 'v' .. pool, string.format('%016d\0%d', fence, index))
    if deadline then
      index_add(SLOTS, 'd' .. pool, deadline_digits(deadline) .. '\0' .. index)
    end
  end
  return 'ACQUIRED', physical, reservation
end

-- Ends a reservation, and frees what nothing else holds. `released` gets every physical name that became free.
local function give_up(name, released)
  local reservation = held[name]
  local definition, index = standing(name, reservation[REQUESTER])
  if index then
    local pool = definition.name
    set(pools, pool .. '\0\0' .. reservation[TOKEN], false)
    index_remove(SLOTS, 'v' .. pool, string.format('%016d\0%d', reservation[FENCE], index))
    if reservation[DEADLINE] then
      index_remove(SLOTS, 'd' .. pool, deadline_digits(reservation[DEADLINE]) .. '\0' .. index)
    end
  end
  local blockers, digits_of_deadline = reservation[BLOCKERS] or {}, deadline_digits(reservation[DEADLINE])
  reservation = alter(name, reservation, { [TOKEN] = false, [DEADLINE] = false, [NOTE] = false, [BLOCKERS] = false })
  touched = touched + 1
  if reservation[USED] == 0 then
    vacate(name, reservation, released)
  end
  for _, blocker in ipairs(blockers) do
    local used = find(blocker)
    index_remove(USES, blocker, digits_of_deadline .. '\0' .. name)
    used = alter(blocker, used, { [USED] = used[USED] - 1 })
    if used[USED] == 0 and not used[TOKEN] then
      vacate(blocker, used, released)
    end
  end
end

-- Moves the deadline of a reservation, and with it its blockers'.
local function prolong(name, ttl_ms)
  local reservation = held[name]
  local deadline = math.ceil(now_us / 1000) + ttl_ms
  local before, after = deadline_digits(reservation[DEADLINE]), deadline_digits(deadline)
  local definition, index = standing(name, reservation[REQUESTER])
  if index and before ~= after then
    if reservation[DEADLINE] then
      index_remove(SLOTS, 'd' .. definition.name, before .. '\0' .. index)
    end
    index_add(SLOTS, 'd' .. definition.name, after .. '\0' .. index)
  end
  for _, blocker in ipairs(reservation[BLOCKERS] or {}) do
    if before ~= after then
      index_remove(USES, blocker, before .. '\0' .. name)
      index_add(USES, blocker, after .. '\0' .. name)
    end
  end
  touched = touched + 1
  return alter(name, reservation, { [DEADLINE] = deadline })
end

-- What a requester means by a name and a token. Answers: physical name | false, refusal, holder, when it will be free
-- (NOT_RESERVED, DOESNT_OWN_RESERVATION, INVALID_RELEASE_TOKEN).
local function claim(requester, name, token)
  local reservation = find(name)
  if reservation then
    if reservation[REQUESTER] ~= requester then
      return false, 'DOESNT_OWN_RESERVATION', reservation[REQUESTER], free_at(name, reservation)
    end
    if reservation[TOKEN] and reservation[TOKEN] == token then
      return name
    end
    return false, 'INVALID_RELEASE_TOKEN'
  end
  local definition, index = resolve(name)
  if definition and definition.capacity > 1 and not index then
    local slot = pool_field(name .. '\0\0' .. token)
    local found = slot and find(slot)
    if found and found[REQUESTER] == requester then
      return slot
    end
    if pool_field(name .. '\0' .. requester) then
      return false, 'INVALID_RELEASE_TOKEN'
    end
    local other, holder = stranger('s' .. name, requester)
    if other then
      return false, 'DOESNT_OWN_RESERVATION', holder, free_at(other, find(other))
    end
  end
  return false, 'NOT_RESERVED'
end

-- --- writing --------------------------------------------------------------------------------------------------------

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
  local records, gone, deadlines, undated, refresh = {}, {}, {}, {}, false
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
        refresh = refresh or (before and due and before <= due)
      end
    end
  end
  in_pieces('HDEL', HELD, gone)
  in_pieces('ZREM', DEADLINES, undated)
  keep(records, deadlines)
  if refresh then
    refresh_due()
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

-- --- what has lapsed ------------------------------------------------------------------------------------------------

-- Ends what has lapsed, before the script decides anything. Answers true when there may be more.
local function end_lapsed()
  if not due or due > now_ms then
    return false
  end
  local names = redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', now_ms, 'LIMIT', 0, LAPSED_AT_ONCE)
  local events = {}
  if #names == 0 then
    refresh_due()
  else
    find_all(names)
    for i, name in ipairs(names) do
      events[i] = held[name]
      give_up(name, {})
    end
    write()
  end
  for i, name in ipairs(names) do
    local lost = events[i]
    for _, kind in ipairs({ 'RESERVATION_EXPIRED', 'UNRESERVED' }) do
      tell(next_position(), kind, 'EXPIRED', false, false, name, lost[REQUESTER], lost[KIND], lost[MADE_BY], lost[FENCE], lost[DEADLINE], lost[POOL],
        lost[BLOCKERS])
    end
  end
  commit()
  forget()
  return #names == LAPSED_AT_ONCE
end

if end_lapsed() then
  return cmsgpack.pack({ 'AGAIN', now_us, position })
end
