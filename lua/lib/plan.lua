-- plan: taking, giving back and prolonging over the view: pools, blockers and trees together, nothing written yet.

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
  set(held, physical, { fence, false, now_ms, false, requester, kind, LABEL, END_USER, false, pool, path, false, 0 })
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
