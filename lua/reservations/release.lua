-- release: giving back, prolonging and ending one thing, whatever it is.
--
-- gives  release, prolong, give_up, freed, freed_count
-- A reservation says itself what goes with it (its place), so nothing registered has to be read to end it, but where slots and ancestors
-- stand. `freed`: what became free by the last `give_up`, in order.
local UNRESERVED, RENEWED = '\170UNRESERVED\172RELINQUISHED\194\169UNRESERVE', '\167RENEWED\167RENEWED\194\165RENEW'
local ZERO = '\0' -- packed: nobody waits
freed = {}

-- Frees a physical thing that nothing holds any more.
local function vacate(name, requester, pool, path, slots)
  held_count = held_count - 1
  drop_held(name)
  freed_count = freed_count + 1
  freed[freed_count] = name
  if waiting_count > 0 then
    note_free(name)
  end
  if pool then
    local record = record_of(pool)
    local slot = sub(name, #pool + 2)
    pools.give(record, slot + 0)
    if slots == true or type(slots) == 'table' then
      drop_held(pool .. '\0' .. requester)
    end
    if path or record.near >= definitions.IS_PARENT_POOL then
      tree.index(remove_index, record, requester, name)
    end
  elseif path then
    tree.leave(path, requester, name)
  end
end

-- Ends the use of blockers by a reservation, and frees those that nothing else holds.
local function give_up_blockers(name, blockers, deadline_then)
  local user = '\0' .. deadline_then .. name
  if blockers[5] then
    look_at(blockers, 1, #blockers)
  end
  for n = 1, #blockers do
    local blocker = blockers[n]
    local packed = look(blocker)
    remove_index('u' .. blocker .. user)
    if reservation.used(packed) > 1 or reservation.has_token(packed) then
      set_held(blocker, reservation.with_one_use_less(packed))
    else
      local pool, path, _, slots = reservation.place(packed)
      vacate(blocker, reservation.holder(packed), pool, path, slots)
    end
  end
end

-- Ends the other slots of a reservation of several.
local function give_up_slots(pool, slots, requester, path)
  local names = {}
  for n = 2, #slots do
    names[n] = pool .. '_' .. text_of(slots[n])
  end
  look_at(names, 2, #slots)
  spent = spent + #slots / 2
  local packed, used -- mostly all are alike
  for n = 2, #slots do
    local name = names[n]
    if view[name] ~= packed then
      packed = view[name]
      used = reservation.used(packed)
    end
    if used > 0 then
      local its_path = path and tree.path(record_of(pool), name)
      set_held(name, reservation.with_place(packed, false, false, reservation.pack_place(pool, its_path, false, false, used)))
    else
      vacate(name, requester, pool, path, false)
    end
  end
end

-- Ends the reservation of a name, `packed`, which is no other's slot.
function give_up(name, packed)
  freed_count, spent = 0, spent + (#packed + #name) / budget.step_bytes
  if byte(packed, 10) == UINT64 then
    drop_deadline(name)
  end
  if byte(packed, -1) % 2 == 0 then
    held_count, freed_count = held_count - 1, 1
    drop_held(name)
    freed[1] = name
    if waiting_count > 0 then
      note_free(name)
    end
    return
  end
  local pool, path, blockers, slots, used = reservation.place(packed)
  local stamp, deadline_then = 19, reservation.NEVER
  if byte(packed, 10) == UINT64 then
    stamp, deadline_then = 27, sub(packed, 11, 18)
  end
  local _, requester = unpack_limit(packed, 1, stamp + 17)
  if pool then
    local slot = sub(name, #pool + 2)
    remove_index('v' .. pool .. '\0' .. sub(packed, 2, 9) .. slot)
    if stamp == 27 then
      remove_index('p' .. pool .. '\0' .. deadline_then .. slot)
    end
    if not slots then
      local field = pool .. '\0\0' .. sub(packed, stamp + 2, stamp + 17)
      drop_held(field)
    end
  end
  if used > 0 then
    set_held(name, reservation.with_place(packed, false, false, reservation.pack_place(pool, path, false, slots and true, used)))
  else
    vacate(name, requester, pool, path, slots)
  end
  if type(slots) == 'table' then
    give_up_slots(pool, slots, requester, path)
  end
  if blockers then
    give_up_blockers(name, blockers, deadline_then)
  end
end

-- The slot that a requester means by its pool's name and a token: name, reservation, where its stamp ends; or nil and why not.
local function slot_meant(record, token, who)
  local name, requester = record.name, reservation.requester(who)
  local mine = look(name .. '\0' .. requester)
  if mine then
    local slot = name .. '_' .. mine
    local packed = look(slot)
    local stamp = packed and reservation.proved(packed, token, who)
    if stamp then
      return slot, packed, stamp
    end
  end
  local by_token = look(name .. '\0\0' .. token)
  if by_token then
    local slot = name .. '_' .. by_token
    local packed = look(slot)
    local stamp = packed and reservation.proved(packed, token, who)
    if stamp then
      return slot, packed, stamp
    end
  end
  -- A token that no slot has is of one that is lost: whoever holds others has nothing to do with it.
  return nil, mine and 'INVALID_RELEASE_TOKEN' or 'NOT_RESERVED'
end

-- What a requester means by a name and a token: physical name, reservation, where its stamp ends; or nil, why not, holder, until when.
local function claim(name, token, who)
  local packed = view[name]
  if packed == nil then
    packed = look(name)
  end
  if not packed then
    local record, slot = resolve(name)
    if not record or slot or record.capacity == 1 then
      return nil, 'NOT_RESERVED'
    end
    return slot_meant(record, token, who)
  end
  local stamp = byte(packed, 10) == UINT64 and 27 or 19
  if find(packed, TEXT_16 .. token .. who, stamp + 1, true) ~= stamp + 1 then
    local holder = reservation.holder(packed)
    if holder ~= reservation.requester(who) then
      return nil, 'DOESNT_OWN_RESERVATION', holder, reservation.free_at(name, packed)
    end
    return nil, 'INVALID_RELEASE_TOKEN'
  end
  if byte(packed, -1) % 2 == 1 then
    local pool, _, _, slots = reservation.place(packed)
    if type(slots) == 'number' then
      -- One of several: the first one says it all.
      name = pool .. '_' .. text_of(slots)
      packed = look(name)
    end
  end
  return name, packed, stamp
end

-- Answers why a name cannot be given back or prolonged.
local function refuse_claim(name, who, request, status, holder, until_ms)
  spent = spent + 1.5 + (#name + (holder and #holder or 0)) / budget.step_bytes
  if request == 'UNRESERVE' and status ~= 'NOT_RESERVED' and not group_at then
    local cause = holder and { 'resource', name, holder, until_ms or false } or false
    spent = spent + (2 * #name + (holder and #holder or 0)) / budget.step_bytes
    events.refuse(events.refusal('UNRESERVE_FAILED', status, cause, request), reservation.requester(who), false, name)
  end
  answer(holder and pack(status, holder, until_ms or false) or pack(status))
  return status
end

-- Gives back the slot of a plain pool that a requester took through the pool's name; nil: there is more to it, and nothing was done.
local function release_slot(record, token, who)
  local pool_name = record.name
  local mine = pool_name .. '\0' .. reservation.requester(who)
  local slot = look(mine)
  local name = slot and pool_name .. '_' .. slot
  local packed, place = name and look(name), reservation.place_through(record)
  local stamp = packed and sub(packed, -#place) == place and reservation.proved(packed, token, who)
  if not stamp then
    return nil
  end
  spent = spent + (#packed + #name) / budget.step_bytes
  drop_held(mine)
  drop_held(name)
  pools.give(record, slot + 0)
  remove_index('v' .. pool_name .. '\0' .. sub(packed, 2, 9) .. slot)
  if stamp == 27 then
    drop_deadline(name)
    remove_index('p' .. pool_name .. '\0' .. sub(packed, 11, 18) .. slot)
  end
  if waiting_count > 0 then
    note_free(name)
  end
  if not group_at then
    next_position()
    emit(UNRESERVED, sub(packed, 1, 9), no_term(), sub(packed, stamp + 18), name)
  end
  held_count, answered = held_count - 1, answered + 1
  answers[answered] = '\161R\145' .. text_head(name) .. name
  return 'RELINQUISHED', name, packed
end

-- Gives a name back. Answers status, and, where that is RELINQUISHED, the physical name and the reservation that ended.
function release(name, token, who)
  local found = view[name]
  if found == nil then
    found = look(name)
  end
  if found and byte(found, -1) == 0 then
    local stamp_then = byte(found, 10) == UINT64 and 27 or 19
    if find(found, TEXT_16 .. token .. who, stamp_then + 1, true) == stamp_then + 1 then
      -- It stands alone.
      spent = spent + (#found + #name) / budget.step_bytes
      if stamp_then == 27 then
        drop_deadline(name)
      end
      drop_held(name)
      if waiting_count > 0 then
        note_free(name)
      end
      held_count, answered = held_count - 1, answered + 1
      answers[answered] = TRUE
      if not group_at then
        next_position()
        emit(UNRESERVED, sub(found, 1, 9), no_term(), sub(found, stamp_then + 18), name)
      end
      return 'RELINQUISHED', name, found
    end
  end
  local record = DEFINITIONS and not found and record_of(name)
  if record and record.is_plain_pool then
    local status, slot, ended = release_slot(record, token, who)
    if status then
      return status, slot, ended
    end
  end
  local physical, packed, stamp, until_ms = claim(name, token, who)
  if not physical then
    return refuse_claim(name, who, 'UNRESERVE', packed, stamp, until_ms)
  end
  give_up(physical, packed)
  if not group_at then
    next_position()
    emit(UNRESERVED, sub(packed, 1, 9), no_term(), sub(packed, stamp + 18), physical)
  end
  answered = answered + 1
  if byte(packed, -1) % 2 == 0 then
    answers[answered] = TRUE
  else
    answers[answered] = '\161R' .. pack({ unpack(freed, 1, freed_count) })
  end
  return 'RELINQUISHED', physical, packed
end

-- Moves the deadlines in the index that go with a reservation.
local function move_deadlines(name, packed)
  local before, after = reservation.deadline(packed), deadline_bytes
  if before == after then
    return
  end
  local pool, _, blockers, slots = reservation.place(packed)
  if pool then
    local slot = sub(name, #pool + 2)
    if before ~= reservation.NEVER then
      remove_index('p' .. pool .. '\0' .. before .. slot)
    end
    if after ~= reservation.NEVER then
      add_index('p' .. pool .. '\0' .. after .. slot)
    end
    local many, others = type(slots) == 'table' and #slots or 1, {}
    for n = 2, many do
      others[n] = pool .. '_' .. text_of(slots[n])
    end
    look_at(others, 2, many)
    local its_before, its_text -- mostly all are alike
    for n = 2, many do
      local its = view[others[n]]
      if its ~= its_before then
        its_before, its_text = its, sub(its, 1, 9) .. deadline_packed .. sub(its, reservation.stamp(its) - 8)
      end
      set_held(others[n], its_text)
    end
  end
  for n = 1, blockers and #blockers or 0 do
    local prefix = 'u' .. blockers[n] .. '\0'
    remove_index(prefix .. before .. name)
    add_index(prefix .. after .. name)
  end
end

-- Moves the deadline of a name. Answers status.
function prolong(name, token, who, ttl_ms)
  local physical, packed, stamp, until_ms = claim(name, token, who)
  if not physical then
    return refuse_claim(name, who, 'RENEW', packed, stamp, until_ms)
  end
  if ttl_ms ~= term_ttl then
    set_term(ttl_ms)
    if ttl_refused then
      return refuse_ttl()
    end
  end
  local fence, tail = sub(packed, 1, 9), sub(packed, stamp + 18)
  local moved = fence .. deadline_packed
  spent = spent + 1 / 2
  set_held(physical, moved .. sub(packed, stamp - 8, stamp + 17) .. tail)
  if deadline then
    set_deadline(physical, deadline)
  else
    drop_deadline(physical)
  end
  if byte(packed, -1) % 2 == 1 then
    move_deadlines(physical, packed)
  end
  next_position()
  emit(RENEWED, fence, term, tail, physical)
  answer(waiting_count > 0 and moved .. pack(lines.waiting(name)) or moved .. ZERO)
  return 'RENEWED'
end
