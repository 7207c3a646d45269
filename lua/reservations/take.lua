-- take: reserving one thing, whatever it is: a name that stands alone, a slot or several, a place in the tree, what takes others along.
--
-- gives  take, set_term, no_term, term, term_ttl, deadline, deadline_packed, deadline_bytes, group_at
-- gives  room, answers, answered, reset_plan, answer, ttl_refused, refuse_ttl, asking
-- `group_at`: of a transaction its position, packed: its items get that and no events of their own.
-- `asking`: of a ticket that is served, or of who would wait: `is_silent`: a refusal is neither published nor answered, but noted as `cause`;
-- `extra`: of the event of the grant.
local RESERVED = '\168RESERVED\168ACQUIRED\194\167RESERVE'
local CHECKED_EVERY = 16 -- blockers or slots, between looks at the budget
local SLOT_STEPS = 1.5 -- what each further slot of a reservation takes beyond what it stages
local dateless
local refusal = {} -- the last one, with its answer and what its event says: in a batch many items have the same thing in the way
answers = {}

room = {} -- `most`: how many may be held; `short`: `take` has a short way while less is held

function room.set(most)
  room.most, room.short = most, (caller.must_be_registered or waiting_count > 0) and 0 or most
end

-- From here on somebody waits: there is no short way.
function room.with_lines()
  room.short = 0
end

function reset_plan()
  asking = nil
  answered, term_ttl, dateless, group_at, ttl_refused = 0, nil, nil, nil, false
  room.set(math.huge)
end

function answer(text)
  answered = answered + 1
  answers[answered] = text
end

-- What follows from a time to live in ms (0: none was given): `deadline` as text or false, and `term`, deadline and now, packed. A deadline is
-- counted from the next whole millisecond, so it is never early. `ttl_refused`: it is longer than the tenant allows.
function set_term(ttl_ms)
  term_ttl = ttl_ms
  local lasts_ms = ttl_ms > 0 and ttl_ms or caller.default_ttl_ms
  ttl_refused = caller.greatest_ttl_ms > 0 and (lasts_ms == 0 or lasts_ms > caller.greatest_ttl_ms)
  if lasts_ms == 0 then
    deadline, deadline_packed, deadline_bytes, term = false, FALSE, reservation.NEVER, no_term()
  else
    local deadline_ms = ceil(now_us / 1000) + lasts_ms
    deadline, deadline_packed = digits(deadline_ms), put('>BI8', UINT64, deadline_ms)
    term, deadline_bytes = deadline_packed .. put('>BI8', UINT64, now_ms), sub(deadline_packed, 2)
  end
end

-- The term of what has no deadline.
function no_term()
  dateless = dateless or FALSE .. put('>BI8', UINT64, now_ms)
  return dateless
end

-- Refuses an item whose time to live is longer than the tenant allows, or has no end where there must be one.
function refuse_ttl()
  term_ttl = nil -- the next one is refused, too
  answer(pack('TTL', caller.greatest_ttl_ms))
  return 'TTL'
end

-- The note with which a name is held, or false.
local function note_of(name)
  local packed = look(name)
  if not packed then
    return false
  end
  local stamp = reservation.stamp(packed)
  local _, _, _, _, _, note_text = unpack_limit(packed, 5, reservation.has_token(packed) and stamp + 17 or stamp + 1)
  return note_text
end

-- Refuses to take something: publishes and answers it. `conflict` is what is in the way.
local function refuse_take(name, tail, status, kind, conflict, holder, until_ms)
  local holder_note = holder and note_of(conflict)
  spent = spent + 2.2 + 2.5 * (#name + #tail) / budget.step_bytes
  if asking and asking.is_silent and status ~= 'NOT_VALID' and not definitions.is_beyond(name) then
    asking.cause = { status, kind, conflict, holder or false, until_ms or false, holder_note, 0 }
    return status
  end
  local _, requester, resource_type, _, _, its_note = unpack_limit(tail, 5, 0)
  local ahead = waiting_count > 0 and kind ~= 'kept' and lines.ahead('w' .. name) or 0
  local r = refusal
  if r.status ~= status or r.kind ~= kind or r.conflict ~= conflict or r.holder ~= holder or r.until_ms ~= until_ms or r.note ~= holder_note
    or r.ahead ~= ahead or r.caller ~= caller or r.now_ms ~= now_ms then
    r.caller = nil -- whatever ends the call before it is whole again, it is nobody's
    r.status, r.kind, r.conflict, r.holder, r.until_ms, r.note, r.ahead, r.now_ms = status, kind, conflict, holder, until_ms, holder_note, ahead, now_ms
    r.said, r.answer = nil, pack(status, kind, conflict, holder or false, until_ms or false, holder_note, ahead)
    r.caller = caller
  end
  if not group_at then
    r.said = r.said or events.refusal('RESERVE_FAILED', status, { kind, conflict, holder or '', until_ms or false }, 'RESERVE')
    events.refuse(r.said, requester, resource_type, name, its_note)
  end
  answer(r.answer)
  return status
end

-- The physical thing that a requester would get by a name, and whether it is new; its record, its slot as text; where the slot is wanted
-- through its pool, true. Or nil, status, kind and name of what is in the way, holder, when that will be free. The last four arguments are
-- what `resolve` answers.
local function choose(requester, name, quantity, record, slot, exists, node)
  local physical, is_through_pool = name, false
  if record and record.capacity > 1 and not slot then
    local mine = look(name .. '\0' .. requester)
    if mine then
      return name .. '_' .. mine, false, record, mine, true
    end
    if quantity > record.capacity then
      return nil, 'NOT_VALID', 'quantity', name
    end
    local number = pools.lowest_free(record, quantity)
    if not number then
      return nil, 'NOT_AVAILABLE', 'pool', name, false, pools.first_deadline(name)
    elseif waiting_count > 0 and lines.has_slots(name) then
      number = lines.lowest_open(record, quantity)
      if not number then
        return nil, 'ALREADY_HELD', 'kept', name, false, lines.ahead('s' .. name)
      end
    end
    slot, is_through_pool = text_of(number), true
    physical = name .. '_' .. slot
  else
    local present = look(name)
    if present then
      local holder = reservation.holder(present)
      if holder ~= requester then
        return nil, 'ALREADY_HELD', 'resource', name, holder, reservation.free_at(name, present)
      end
      return name, false, record, slot
    elseif node then
      return nil, 'NOT_VALID', 'path', node
    elseif slot and not exists or not record and caller.must_be_registered then
      return nil, 'NOT_VALID', 'registration', name
    elseif quantity > 1 then
      return nil, 'NOT_VALID', 'quantity', name
    end
  end
  if record and (record.children > 0 or record.depth > 0) then
    local kind, conflict, holder, until_ms = tree.refusal(record, requester)
    if kind then
      return nil, 'ALREADY_HELD', kind, conflict, holder, until_ms
    end
  end
  local ahead = waiting_count > 0 and lines.kept_for(name, physical, record, slot, quantity)
  if ahead then
    return nil, 'ALREADY_HELD', 'kept', name, false, ahead
  end
  return physical, true, record, slot, is_through_pool
end

-- Notes where a thing stands that is taken: its slot, its place in the tree.
local function occupy(requester, physical, record, slot, is_through_pool)
  held_count = held_count + 1
  if slot then
    pools.take(record, slot + 0)
    if is_through_pool then
      set_held(record.name .. '\0' .. requester, slot)
    end
  end
  if record and (record.depth > 0 or record.near >= definitions.IS_PARENT_POOL) then
    tree.index(add_index, record, requester, physical)
  end
end

-- Takes along what a reservation blocks. Answers their names or false; or nil and why not, as `choose`.
local function take_blockers(requester, physical, record, at, tail)
  local blockers, blocks = {}, record.blocks
  local user = '\0' .. deadline_bytes .. physical
  local _, _, kind, label, end_user = unpack_limit(tail, 4, 0)
  local stamp = at .. no_term() .. FALSE .. pack(requester, kind, label, end_user, false)
  look_ahead(blocks, 1, #blocks)
  for n = 1, #blocks do
    local blocker, is_new, place, slot, is_through_pool, until_ms = choose(requester, blocks[n], 1, resolve(blocks[n]))
    spent = spent + 2
    if not blocker then
      local status, what, conflict, holder = is_new, place, slot, is_through_pool
      return nil, status, (what == 'resource' or what == 'pool') and 'blocker' or what, conflict, holder, until_ms
    end
    if blocker ~= physical then
      if is_new then
        occupy(requester, blocker, place, slot, is_through_pool)
        local its_place = reservation.BLOCKS_ONLY
        if place then
          its_place = reservation.pack_place(slot and place.name, tree.path(place, blocker), false, slot and is_through_pool, 1)
        end
        set_held(blocker, stamp .. its_place)
      else
        set_held(blocker, reservation.with_one_more_use(look(blocker)))
      end
      add_index('u' .. blocker .. user)
      blockers[#blockers + 1] = blocker
    end
    if n % CHECKED_EVERY == 0 and is_too_much() then
      break
    end
  end
  return blockers[1] and blockers or false
end

-- Takes the other slots of a reservation of several. Answers the indexes of all.
local function take_more_slots(requester, pool, slot, quantity, stamp, token, tail)
  local slots, rest, alike = { slot + 0 }, stamp .. TEXT_16 .. token .. sub(tail, 1, -2), nil
  if not pool.path then
    alike = rest .. reservation.pack_place(pool.name, false, false, slots[1], 0)
  end
  local passes_slots = waiting_count > 0 and lines.has_slots(pool.name)
  for n = 2, quantity do
    local number = passes_slots and lines.lowest_open(pool, 1) or pools.lowest_free(pool, 1)
    local name = pool.name .. '_' .. text_of(number)
    slots[n] = number
    occupy(requester, name, pool, number, false)
    set_held(name, alike or rest .. reservation.pack_place(pool.name, tree.path(pool, name), false, slots[1], 0))
    spent = spent + SLOT_STEPS
    if n % CHECKED_EVERY == 0 and is_too_much() then
      break
    end
  end
  return slots
end

-- What the requester holds by itself already is answered with its token, unless an end user asks who did not make it.
local function answer_had(name, packed, tail)
  local _, _, _, _, token, holder, _, _, end_user = unpack_limit(packed, 8, 0)
  spent = spent + 1.1 * (1 + (#packed + #name) / budget.step_bytes) -- no more than taking it: a call may be repeated
  if caller.end_user and end_user ~= caller.end_user then
    return refuse_take(name, tail, 'ALREADY_HELD', 'resource', name, holder, reservation.free_at(name, packed))
  end
  local _, _, _, slots = reservation.place(packed)
  if type(slots) == 'number' then
    -- One of several: the first one says it all.
    name = match(name, '^(.+_)') .. text_of(slots)
    packed = look(name)
  end
  answer('\161H' .. packed .. text_head(name) .. name)
  return 'ALREADY_HAD', name, packed
end

-- The tenant may hold no more: the item is refused by itself.
local function refuse_full()
  publish_limit('ConcurrentReservations', caller.held_limit)
  local first = call('ZRANGE', DEADLINES, '0', '0', 'WITHSCORES')
  answer(pack('LIMIT', 'ConcurrentReservations', caller.held_limit, held_count, tonumber(first[2]) or false))
  return 'LIMIT'
end

-- What `take` does with everything but a free name that stands alone. An item that passes the budget is taken back where it may be large.
local function take_placed(name, token, tail, ttl_ms, quantity, ...)
  local requester = reservation.requester(tail)
  local physical, is_new, record, slot, is_through_pool, until_ms = choose(requester, name, quantity, ...)
  if not physical then
    return refuse_take(name, tail, is_new, record, slot, is_through_pool, until_ms)
  end
  local present = not is_new and look(physical)
  if present and reservation.has_token(present) then
    if ticket_count > 0 and not asking and not group_at then
      tickets.claim_shown(false, { { name, token, tail, ttl_ms, quantity } })
    end
    return answer_had(physical, present, tail)
  end
  if ttl_ms ~= term_ttl then
    set_term(ttl_ms)
    if ttl_refused then
      return refuse_ttl()
    end
  end
  local position_then, count_before, blockers, slots, path, used = position, held_count, false, slot and is_through_pool or false, false, 0
  if present then
    local _
    _, path, _, slots, used = reservation.place(present)
    is_through_pool = slots == true
    if quantity > 1 and pools.free(record) < quantity - 1 then
      return refuse_take(name, tail, 'NOT_AVAILABLE', 'pool', name, false, pools.first_deadline(name))
    end
  elseif record then
    path = tree.path(record, physical)
  end
  local to = (record and record.blocks[1] or quantity > 1 or held_count >= room.most) and mark()
  local at = group_at or next_position() -- of a transaction it is the group's
  if is_new then
    occupy(requester, physical, record, slot, is_through_pool)
  end
  if quantity > 1 then
    slots = take_more_slots(requester, record, slot, quantity, at .. term, token, tail)
  end
  if record and record.blocks[1] then
    local status, kind, conflict, holder, ends_ms
    blockers, status, kind, conflict, holder, ends_ms = take_blockers(requester, physical, record, at, tail)
    if blockers == nil then
      undo(to)
      position = position_then
      return refuse_take(name, tail, status, kind, conflict, holder, ends_ms)
    end
  end
  local is_full = held_count > room.most and held_count > count_before
  if to and (is_full or is_too_much()) then
    undo(to)
    position = position_then
    return is_full and refuse_full() or 'TOO_MUCH_WORK'
  end
  local place = reservation.ALONE
  if slots == true and not path and not blockers and used == 0 then
    place = reservation.place_through(record)
  elseif slot or path or blockers or used > 0 then
    place = reservation.pack_place(slot and record.name, path, blockers, slots, used)
  end
  local rest = sub(tail, 1, -2) .. place
  local packed = at .. term .. TEXT_16 .. token .. rest
  set_held(physical, packed)
  if deadline then
    set_deadline(physical, deadline)
  end
  if slot then
    if not is_through_pool then
      set_held(record.name .. '\0\0' .. token, slot)
    end
    local pool_name = record.name
    add_index('v' .. pool_name .. '\0' .. sub(at, 2) .. slot)
    if deadline then
      add_index('p' .. pool_name .. '\0' .. deadline_bytes .. slot)
    end
  end
  local list, t = nil, nil
  if waiting_count > 0 then
    note_taken(requester)
    if not asking and not group_at then
      list = { { name, token, tail, ttl_ms, quantity } }
      t = tickets.waits_for(requester, list)
    end
  end
  if not group_at then
    emit(RESERVED, false, term, rest, physical, asking and asking.extra or t and tickets.extra(t, now_ms - t.since_ms))
  end
  answered = answered + 1
  answers[answered] = '\161A' .. at .. term .. place .. text_head(physical) .. physical
  if t then
    tickets.plan_grant(t, list, answers[answered], { { physical, token } })
  end
  return 'ACQUIRED', physical, packed
end

-- Takes a slot of a plain pool through the pool's name; false: there is more to it, and nothing was done.
local function take_slot(record, token, tail, ttl_ms)
  local pool_name = record.name
  local mine = pool_name .. '\0' .. reservation.requester(tail)
  local present = view[mine]
  if present == nil then
    present = look(mine)
  end
  local number = not present and pools.lowest_free(record, 1)
  if not number then
    return false
  end
  if ttl_ms ~= term_ttl then
    set_term(ttl_ms)
    if ttl_refused then
      return refuse_ttl()
    end
  end
  local at, slot, place = group_at or next_position(), text_of(number), reservation.place_through(record)
  local name, rest = pool_name .. '_' .. slot, sub(tail, 1, -2) .. place
  local packed = at .. term .. TEXT_16 .. token .. rest
  pools.take(record, number)
  set_held(mine, slot)
  set_held(name, packed)
  add_index('v' .. pool_name .. '\0' .. sub(at, 2) .. slot)
  if deadline then
    set_deadline(name, deadline)
    add_index('p' .. pool_name .. '\0' .. deadline_bytes .. slot)
  end
  if not group_at then
    emit(RESERVED, false, term, rest, name)
  end
  held_count, answered, spent = held_count + 1, answered + 1, spent + 1
  answers[answered] = '\161A' .. at .. term .. place .. text_heads[#name] .. name
  return 'ACQUIRED', name, packed
end

-- Takes a name (`quantity`: nil, or how many slots of it), or says why not. Answers status, and, where the requester holds it then, the physical
-- name and the reservation.
-- TOO_MUCH_WORK: nothing was done or answered.
function take(name, token, tail, ttl_ms, quantity)
  if DEFINITIONS then
    local record, slot, exists, node = resolve(name)
    if record or node then
      if record and record.is_plain_pool and not slot and not quantity and held_count < room.short then
        local status, physical, packed = take_slot(record, token, tail, ttl_ms)
        if status then
          return status, physical, packed
        end
      end
      return take_placed(name, token, tail, ttl_ms, quantity or 1, record, slot, exists, node)
    end
  end
  local present = view[name]
  if present == nil then
    present = look(name)
  end
  if present or held_count >= room.short or quantity then
    return take_placed(name, token, tail, ttl_ms, quantity or 1)
  end
  -- It is free, and it stands alone.
  if ttl_ms ~= term_ttl then
    set_term(ttl_ms)
    if ttl_refused then
      return refuse_ttl()
    end
  end
  local at = group_at or next_position()
  local stamp = at .. term
  local packed = stamp .. TEXT_16 .. token .. tail
  set_held(name, packed)
  if deadline then
    set_deadline(name, deadline)
  end
  held_count, answered = held_count + 1, answered + 1
  answers[answered] = stamp
  if not group_at then
    emit(RESERVED, false, term, tail, name)
  end
  return 'ACQUIRED', name, packed
end
