-- runs: items of one call that follow each other and are all as plain as most are, taken or given back in one loop: names that stand alone, slots of a
-- pool that stands in no tree.
--
-- gives  runs
-- The same decisions as `take` and `release`, without a call of several functions for each item: three quarters of the cost. Whatever is not so plain
-- ends the run, with nothing done of it, and goes the common way.
local RESERVED, UNRESERVED = '\168RESERVED\168ACQUIRED\194\167RESERVE', '\170UNRESERVED\172RELINQUISHED\194\169UNRESERVE'
local texts, tails, fences = {}, {}, {} -- of the items of a run, by their numbers
local names, slots = {}, {} -- of slots: their names at the items' numbers + 1, their indexes as text at the items' numbers
local numbers, members = {}, {} -- their indexes, and what is said of them in the index, from 1 on
runs = {}

-- Whether items with this time to live are taken; `term` is theirs then.
local function has_term(ttl_ms)
  if ttl_ms ~= term_ttl then
    set_term(ttl_ms)
  end
  if ttl_refused then
    term_ttl = nil -- `take` says so
  end
  return not ttl_refused
end

-- Takes items `first` to `final` (see items.lua) as long as they are free names that stand alone, with one time to live: as `take` does, without a call
-- for each. `tail`: of the item before. Answers the first item that it left, and the tail of the one before that.
function runs.take(of, first, final, token_of, tail_of, ttl_of, tail)
  local ttl_ms = of[ttl_of + first]
  if held_count >= room.short or not has_term(ttl_ms) then
    return first, tail
  end
  local view, term, at, count, byte_of = view, term, positions.next(), answered, positions.byte_of
  local head, left = positions.head_of(at), min(final, first + room.short - held_count - 1) + 1
  for n = first, left - 1 do
    local name, given, low = of[n + 1], of[tail_of + n], at % 256
    if view[name] ~= false or of[ttl_of + n] ~= ttl_ms or DEFINITIONS and not definitions.stands_alone(name) then
      left = n
      break
    elseif given ~= '' then
      tail = given
    end
    if low == 0 then
      head = positions.head_of(at)
    end
    local stamp = head .. byte_of[low] .. term
    local packed = stamp .. TEXT_16 .. of[token_of + n] .. tail
    if marked then
      note(view, name)
    end
    view[name], texts[n], tails[n] = packed, packed, tail
    at, count = at + 1, count + 1
    answers[count] = stamp
  end
  if left > first then
    stage.hold_run(of, texts, first, left - 1, deadline)
    position, held_count, answered = at - 1, held_count + left - first, count
    events.emit_run(RESERVED, nil, term, tails, of, first, left - 1)
  end
  return left, tail
end

-- Gives items `first` to `final` (see items.lua) back as long as they stand alone and all have an end, or none: as `release` does, without a call for
-- each. `who`: of the item before. Answers the first item that it left, and the requester of the one before that.
function runs.release(of, first, final, token_of, who_of, who)
  if waiting_count > 0 then
    return first, who
  end
  local sample = view[of[first + 1]]
  local stamp, deadline_byte = reservation.stamp(sample), byte(sample, 10)
  local token_at, tail_at = stamp + 2, stamp + 18
  local view, count, left, bytes, tail, length = view, answered, final + 1, 0, nil, nil
  for n = first, final do
    local name, given = of[n + 1], of[who_of + n]
    local packed = view[name]
    if not packed or byte(packed, 10) ~= deadline_byte then
      left = n
      break
    elseif given ~= '' or #packed ~= length or find(packed, tail, tail_at, true) ~= tail_at then
      who = given ~= '' and given or who
      tail, length = sub(packed, tail_at), #packed
      if byte(packed, -1) ~= 0 or find(packed, who, tail_at, true) ~= tail_at then
        left = n
        break
      end
    end
    if find(packed, of[token_of + n], token_at, true) ~= token_at then
      left = n
      break
    elseif marked then
      note(view, name)
    end
    view[name], fences[n], tails[n] = false, sub(packed, 1, 9), tail
    bytes, count = bytes + length + #name, count + 1
    answers[count] = TRUE
  end
  if left > first then
    stage.drop_run(of, first, left - 1, stamp == 27)
    spent, held_count, position, answered = spent + bytes / budget.step_bytes, held_count - left + first, positions.next() + left - first - 1, count
    events.emit_run(UNRESERVED, fences, no_term(), tails, of, first, left - 1)
  end
  return left, who
end

-- How many items from `first` on ask for a slot of this pool, with this time to live, each for another one who has none.
local function slots_asked(pool_name, mines, of, first, final, ttl_of)
  local ttl_ms, count = of[ttl_of + first], 0
  for n = first, final do
    local mine = of[n + 1] == pool_name and of[ttl_of + n] == ttl_ms and mines[n + 1]
    if not mine or view[mine] ~= false then
      break
    end
    view[mine], count = true, count + 1 -- nobody gets two
  end
  for n = first + 1, first + count do
    view[mines[n]] = false
  end
  return count
end

-- As runs.take, for slots of a pool that stands in no tree, asked for by the pool's name; `mines`: see items.lua.
function runs.take_slots(record, mines, of, first, final, token_of, tail_of, ttl_of, tail)
  local pool_name, place = record.name, reservation.place_through(record)
  if held_count >= room.short or pools.free(record) < 1 or not has_term(of[ttl_of + first]) then
    return first, tail
  end
  local asked = slots_asked(pool_name, mines, of, first, final, ttl_of)
  local left = first + pools.take_run(record, min(asked, room.short - held_count), numbers)
  local at, count, many, rest, head, byte_of = positions.next(), answered, 0, nil, nil, positions.byte_of
  for n = first, left - 1 do
    local given, slot, low = of[tail_of + n], text_of(numbers[n - first + 1]), at % 256
    if given ~= '' then
      tail, rest = given, nil
    end
    if low == 0 or not head then
      head = positions.head_of(at)
    end
    rest = rest or sub(tail, 1, -2) .. place
    local name, fence = pool_name .. '_' .. slot, head .. byte_of[low]
    local packed = fence .. term .. TEXT_16 .. of[token_of + n] .. rest
    stage.see(mines[n + 1], slot)
    stage.see(name, packed)
    names[n + 1], texts[n], slots[n], tails[n] = name, packed, slot, rest
    members[many + 1] = 'v' .. pool_name .. '\0' .. sub(fence, 2) .. slot
    many = many + 1
    if deadline then
      members[many + 1] = 'p' .. pool_name .. '\0' .. deadline_bytes .. slot
      many = many + 1
    end
    at, count = at + 1, count + 1
    answers[count] = '\161A' .. fence .. term .. place .. text_heads[#name] .. name
  end
  if left > first then
    stage.hold_run(mines, slots, first, left - 1, false)
    stage.hold_run(names, texts, first, left - 1, deadline)
    stage.add_members(members, many)
    position, spent, held_count, answered = at - 1, spent + left - first, held_count + left - first, count
    events.emit_run(RESERVED, nil, term, tails, names, first, left - 1)
  end
  return left, tail
end

-- As runs.release, for slots of a pool that stands in no tree, which were taken and are given back by the pool's name.
function runs.release_slots(record, mines, of, first, final, token_of, who_of, who)
  if waiting_count > 0 then
    return first, who
  end
  local pool_name, place = record.name, reservation.place_through(record)
  local count, left, many, bytes, deadline_byte = answered, final + 1, 0, 0, nil
  for n = first, final do
    local given = of[who_of + n]
    who = given ~= '' and given or who
    local mine = mines[n + 1]
    local slot = of[n + 1] == pool_name and view[mine]
    local name = slot and pool_name .. '_' .. slot
    local packed = name and view[name]
    deadline_byte = deadline_byte or packed and byte(packed, 10)
    local stamp = packed and byte(packed, 10) == deadline_byte and sub(packed, -#place) == place and reservation.proved(packed, of[token_of + n], who)
    if not stamp then
      left = n
      break
    end
    local fence = sub(packed, 1, 9)
    stage.see(mine, false)
    stage.see(name, false)
    pools.give(record, slot + 0)
    names[n + 1], fences[n], tails[n] = name, fence, sub(packed, stamp + 18)
    members[many + 1] = 'v' .. pool_name .. '\0' .. sub(fence, 2) .. slot
    many = many + 1
    if stamp == 27 then
      members[many + 1] = 'p' .. pool_name .. '\0' .. sub(packed, 11, 18) .. slot
      many = many + 1
    end
    bytes, count = bytes + #packed + #name, count + 1
    answers[count] = '\161R\145' .. text_heads[#name] .. name
  end
  if left > first then
    stage.drop_run(mines, first, left - 1, false)
    stage.drop_run(names, first, left - 1, deadline_byte == UINT64)
    stage.remove_members(members, many)
    spent, held_count, position, answered = spent + bytes / budget.step_bytes, held_count - left + first, positions.next() + left - first - 1, count
    events.emit_run(UNRESERVED, fences, no_term(), tails, names, first, left - 1)
  end
  return left, who
end
