-- straight: one thing asked for by itself, and rightly: most of what is asked of a server that is not busy.
--
-- gives  take_straight, release_straight, straight
-- The same decisions as `take` and `release`, without what only several things need: of a name that stands alone; of a slot through its pool's name; of
-- a leaf of the tree, and what takes names that stand alone along, while nothing of that is held. Such a call costs two thirds of the common way, or
-- less. Whatever is not so plain is answered false, with nothing done, and goes the common way; with what was read of `held`.
local RESERVED, UNRESERVED = '\168RESERVED\168ACQUIRED\194\167RESERVE', '\170UNRESERVED\172RELINQUISHED\194\169UNRESERVE'
local BLOCKERS_MOST = 4 -- more are read at once, in the common way
straight = {}

-- Whether something has to be done before: then nothing is straight.
function straight.is_busy()
  return due and due <= now_ms or unsettled > 0 or ticket_count > 0
end

-- Writes the event and the state, publishes, and answers `text`.
function straight.close(event, text)
  append(event, 1)
  last = position
  save()
  publish_message(event)
  return put('>BI8c3BI8BI8', UINT64, backlog, '\162OK', UINT64, now_us, UINT64, position) .. text
end

-- Something ends at `deadline_ms` from now on.
function straight.note_deadline(deadline_ms)
  if not due or deadline_ms < due then
    due = deadline_ms
    call('ZADD', DUE, digits(due), caller.tenant)
  end
end

-- The event and the answer of what was taken.
local function close_taken(stamp, rest, name, text)
  return straight.close(caller.head .. put('>BI8', UINT64, last) .. stamp .. TRUE .. RESERVED .. caller.packed_label .. rest .. FALSE .. text_head(name) .. name,
    text)
end

-- Something was given back: where nothing is held any more, nothing is due.
function straight.note_nothing_held()
  if due and held_count == 0 then
    due = false
    call('ZREM', DUE, caller.tenant)
  end
end

-- The same of what was given back, and what goes with its deadline.
local function close_given(packed, stamp, name, text)
  if stamp == 27 then
    call('ZREM', DEADLINES, name)
  end
  position = position < now_us and now_us or position + 1
  straight.note_nothing_held()
  local term_now = put('>c1BI8BI8', FALSE, UINT64, now_ms, UINT64, position)
  return straight.close(caller.head .. put('>BI8', UINT64, last) .. sub(packed, 1, 9) .. term_now .. UNRESERVED .. caller.packed_label
    .. sub(packed, stamp + 18) .. FALSE .. text_head(name) .. name, text)
end

-- The slot that a requester gets of a pool, its reservation but for the place, and the place.
local function take_slot(record, requester, stamp, bare, deadline_ms)
  local name = record.name
  local mine = name .. '\0' .. requester
  local found = call('HMGET', HELD, name .. '\0', mine)
  local slot, counts = nil, nil
  if not found[2] then
    slot, counts = pools.take_lowest(record, found[1])
  end
  if not slot then
    return false
  end
  local physical, place = name .. '_' .. slot, reservation.place_through(record)
  call('HSET', HELD, physical, bare .. place, mine, slot, name .. '\0', counts)
  local with_token = 'v' .. name .. '\0' .. sub(stamp, 2, 9) .. slot
  if deadline_ms then
    call('ZADD', INDEX, '0', with_token, '0', 'p' .. name .. '\0' .. sub(stamp, 11, 18) .. slot)
  else
    call('ZADD', INDEX, '0', with_token)
  end
  call('SETBIT', SLOTS, text_of(record.first_bit + slot), '1')
  held_count = held_count + 1
  return physical, place
end

-- The same of what is no pool: a place in the tree with nothing below it, and blockers.
local function take_leaf(record, requester, stamp, bare, tail)
  local name, ancestors, blocks, depth = record.name, record.ancestors, record.blocks, record.depth
  local many = #blocks
  if many > BLOCKERS_MOST or many > 0 and (caller.must_be_registered or caller.held_limit > 0 and held_count + many >= caller.held_limit) then
    return false
  end
  for n = 1, many do
    local its_record, _, _, node = resolve(blocks[n])
    if its_record or node then
      return false
    end
  end
  local found = call('HMGET', HELD, name, unpack(ancestors, 1, depth))
  for n = 1, depth + 1 do
    if found[n] then
      return false
    end
  end
  found = many > 0 and call('HMGET', HELD, unpack(blocks))
  for n = 1, many do
    if found[n] then
      return false
    end
  end
  local path = tree.path(record, name)
  local place = (path or many > 0) and reservation.pack_place(false, path, many > 0 and blocks, false, 0) or reservation.ALONE
  local held, members = { name, bare .. place }, {}
  for n = 1, depth do
    members[2 * n - 1], members[2 * n] = '0', 't' .. ancestors[n] .. '\0' .. requester .. '\0' .. name
  end
  if many > 0 then
    local user = '\0' .. (byte(stamp, 10) == UINT64 and sub(stamp, 11, 18) or reservation.NEVER) .. name
    local _, _, kind, label, end_user = unpack_limit(tail, 4, 0)
    local its = sub(stamp, 1, 9) .. FALSE .. sub(stamp, -9) .. FALSE .. pack(requester, kind, label, end_user, false) .. reservation.BLOCKS_ONLY
    for n = 1, many do
      held[2 * n + 1], held[2 * n + 2] = blocks[n], its
      members[2 * (depth + n) - 1], members[2 * (depth + n)] = '0', 'u' .. blocks[n] .. user
    end
  end
  call('HSET', HELD, unpack(held))
  if members[1] then
    call('ZADD', INDEX, unpack(members))
  end
  held_count = held_count + 1 + many
  return name, place
end

function take_straight(name, token, tail, ttl_ms)
  if straight.is_busy() or caller.greatest_ttl_ms > 0 or caller.held_limit > 0 and held_count >= caller.held_limit then
    return false
  end
  local record, slot, node
  if DEFINITIONS then
    local _
    record, slot, _, node = resolve(name)
    if slot or node or record and (record.near > 0 or record.children > 0 or record.capacity > 1 and (record.depth > 0 or record.blocks[1])) then
      return false
    end
  end
  if not record and caller.must_be_registered then
    return false
  end
  local lasts_ms = ttl_ms > 0 and ttl_ms or caller.default_ttl_ms
  local deadline_ms = lasts_ms > 0 and ceil(now_us / 1000) + lasts_ms
  local at = position < now_us and now_us or position + 1
  local stamp
  if deadline_ms then
    stamp = put('>BI8BI8BI8', UINT64, at, UINT64, deadline_ms, UINT64, now_ms)
  else
    stamp = put('>BI8c1BI8', UINT64, at, FALSE, UINT64, now_ms)
  end
  local text, rest = stamp, tail
  if not record then
    if call('HSETNX', HELD, name, stamp .. TEXT_16 .. token .. tail) == 0 then
      return false
    end
    held_count = held_count + 1
  else
    local requester, bare_tail, place = reservation.requester(tail), sub(tail, 1, -2), nil
    local bare = stamp .. TEXT_16 .. token .. bare_tail
    if record.capacity > 1 then
      name, place = take_slot(record, requester, stamp, bare, deadline_ms)
    else
      name, place = take_leaf(record, requester, stamp, bare, tail)
    end
    if not name then
      return false
    end
    rest = bare_tail .. place
    text = '\161A' .. stamp .. place .. text_head(name) .. name
  end
  position = at
  if deadline_ms then
    call('ZADD', DEADLINES, digits(deadline_ms), name)
    straight.note_deadline(deadline_ms)
  end
  return close_taken(stamp, rest, name, text)
end

-- Gives back the slot that a requester got through the pool's name.
local function release_slot(name, token, who)
  local record, slot = resolve(name)
  if not record or slot or record.capacity == 1 or record.near > 0 or record.depth > 0 then
    return false
  end
  local counts_of, mine = name .. '\0', name .. '\0' .. reservation.requester(who)
  local found = call('HMGET', HELD, counts_of, mine)
  slot = found[2]
  if not slot or slot + 0 >= record.capacity then
    return false
  end
  local physical, place = name .. '_' .. slot, reservation.place_through(record)
  local packed = call('HGET', HELD, physical)
  local stamp = packed and reservation.proved(packed, token, who)
  if not stamp or sub(packed, -#place) ~= place then
    return false
  end
  local counts = pools.give_back(found[1], slot + 0)
  if counts then
    call('HDEL', HELD, physical, mine)
    call('HSET', HELD, counts_of, counts)
  else
    call('HDEL', HELD, physical, mine, counts_of)
  end
  local with_token = 'v' .. name .. '\0' .. sub(packed, 2, 9) .. slot
  if stamp == 27 then
    call('ZREM', INDEX, with_token, 'p' .. name .. '\0' .. sub(packed, 11, 18) .. slot)
  else
    call('ZREM', INDEX, with_token)
  end
  call('SETBIT', SLOTS, text_of(record.first_bit + slot), '0')
  held_count = held_count - 1
  return close_given(packed, stamp, physical, '\161R\145' .. text_head(physical) .. physical)
end

-- Gives back what is no slot, with its blockers, where nothing else holds those or it.
local function release_leaf(name, packed, stamp, who)
  local pool, path, blockers, _, used = reservation.place(packed)
  if pool or used > 0 then
    return false
  end
  local many = blockers and #blockers or 0
  local found = many > 0 and call('HMGET', HELD, unpack(blockers))
  for n = 1, many do
    if sub(found[n], -#reservation.BLOCKS_ONLY) ~= reservation.BLOCKS_ONLY or reservation.has_token(found[n]) then
      return false
    end
  end
  call('HDEL', HELD, name, unpack(blockers or {}))
  local members, count = {}, 0
  local rest = '\0' .. reservation.requester(who) .. '\0' .. name
  for ancestor in gmatch(path and sub(path, 1, -#name - 2) or '', '[^>]+') do
    count = count + 1
    members[count] = 't' .. ancestor .. rest
  end
  local user = '\0' .. reservation.deadline(packed) .. name
  for n = 1, many do
    members[count + n] = 'u' .. blockers[n] .. user
  end
  if members[1] then
    call('ZREM', INDEX, unpack(members))
  end
  held_count = held_count - 1 - many
  return close_given(packed, stamp, name, '\161R' .. pack({ name, unpack(blockers or {}) }))
end

function release_straight(name, token, who)
  if straight.is_busy() then
    return false
  end
  local packed = call('HGET', HELD, name)
  if not packed then
    return DEFINITIONS and release_slot(name, token, who), packed
  end
  local stamp = reservation.proved(packed, token, who)
  if not stamp then
    return false, packed
  elseif byte(packed, -1) ~= 0 then
    return DEFINITIONS and release_leaf(name, packed, stamp, who), packed
  end
  call('HDEL', HELD, name)
  held_count = held_count - 1
  return close_given(packed, stamp, name, TRUE)
end
