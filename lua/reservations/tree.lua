-- tree: who of the tree is in the way, and where what is held is noted.
--
-- gives  tree
-- In the index: t ancestor\0requester\0name for each thing held below an ancestor; s pool\0requester\0slot for each held slot of a pool that has
-- something below it. So what others hold at a place is found without going through what the requester holds there.
tree = {}

-- What somebody else than the requester holds under a prefix: its name and holder, or nil.
local function stranger(prefix, requester)
  local mine = prefix .. '\0' .. requester .. '\0'
  local length = #mine
  local function is_other(member)
    return sub(member, 1, length) ~= mine
  end
  local below = stage.find_member(prefix, is_other, false, nil, '(' .. mine)
  local member = below or stage.find_member(prefix, is_other, false, '[' .. prefix .. '\0' .. requester .. '\1')
  if member then
    local holder, name = match(member, '^%Z*%z(%Z*)%z(%Z*)$')
    return name, holder
  end
end

-- Who refuses a requester the place of a record: kind, name, holder, when it will be free; nil: nobody.
function tree.refusal(record, requester)
  local ancestors, is_near_pool = record.ancestors, record.near % 2 == definitions.NEAR_POOL
  if record.depth > 4 then
    look_at(ancestors, 1, record.depth)
  end
  for n = 1, record.depth do
    local ancestor = ancestors[n]
    local packed = view[ancestor]
    if packed == nil then
      packed = look(ancestor)
    end
    if packed then
      local holder = reservation.holder(packed)
      if holder ~= requester then
        return 'ancestor', ancestor, holder, reservation.free_at(ancestor, packed)
      end
    end
    local above = is_near_pool and record_of(ancestor)
    if above and above.capacity > 1 and pools.is_held(ancestor) then
      local name, holder = stranger('s' .. ancestor, requester)
      if name then
        return 'ancestor', name, holder, reservation.free_at(name, look(name))
      end
    end
  end
  spent = spent + record.depth / (is_near_pool and 1.2 or budget.turns) -- beside a pool each one's record and counts are looked at, too
  if record.children > 0 then
    local name, holder = stranger('t' .. record.name, requester)
    if name then
      return 'descendant', name, holder, reservation.free_at(name, look(name))
    end
  end
end

-- Adds to a list who else than the requester holds something in the way of his having the place of a record, at most so many of a place.
function tree.add_strangers(holders, record, requester, most)
  local function add_below(prefix)
    local from, count = nil, 0
    repeat
      local member = stage.find_member(prefix, nil, false, from)
      local holder = member and match(member, '^%Z*%z(%Z*)%z%Z*$')
      if holder and holder ~= requester then
        holders[#holders + 1] = holder
      end
      from, count = holder and '[' .. prefix .. '\0' .. holder .. '\1', count + 1
    until not holder or count == most
  end
  for n = 1, record.depth do
    local packed = look(record.ancestors[n])
    local holder = packed and reservation.holder(packed)
    if holder and holder ~= requester then
      holders[#holders + 1] = holder
    end
    local above = record.near % 2 == definitions.NEAR_POOL and record_of(record.ancestors[n])
    if above and above.capacity > 1 and pools.is_held(above.name) then
      add_below('s' .. above.name)
    end
  end
  if record.children > 0 then
    add_below('t' .. record.name)
  end
end

-- Notes that a requester holds a thing at the place of a record, or (`change` is remove_index) no longer.
function tree.index(change, record, requester, name)
  local rest = '\0' .. requester .. '\0' .. name
  if record.near >= definitions.IS_PARENT_POOL then
    change('s' .. record.name .. rest)
  end
  local ancestors = record.ancestors
  for n = 1, record.depth do
    change('t' .. ancestors[n] .. rest)
  end
  spent = spent + record.depth / 2
end

-- Notes that a thing which is no slot is held no longer at the path that it was taken at.
function tree.leave(path, requester, name)
  local rest = '\0' .. requester .. '\0' .. name
  for ancestor in gmatch(sub(path, 1, -#name - 2), '[^>]+') do
    remove_index('t' .. ancestor .. rest)
  end
end

-- The path of a physical thing at the place of a record, or false.
function tree.path(record, physical)
  return record.path and record.path .. physical
end
