-- runs: items of one call that follow each other and are all as plain as most are: names that stand alone, taken or given back in one loop.
--
-- gives  runs
-- The same decisions as `take` and `release`, without a call of several functions for each item: three quarters of the cost. Whatever is not so plain
-- ends the run, with nothing done of it, and goes the common way.
local RESERVED, UNRESERVED = '\168RESERVED\168ACQUIRED\194\167RESERVE', '\170UNRESERVED\172RELINQUISHED\194\169UNRESERVE'
local texts, tails, fences = {}, {}, {} -- of the items of a run, by their numbers
runs = {}

-- Takes items `first` to `final` (see items.lua) as long as they are free names that stand alone, with one time to live: as `take` does, without a call
-- for each. `tail`: of the item before. Answers the first item that it left, and the tail of the one before that.
function runs.take(of, first, final, token_of, tail_of, ttl_of, tail)
  local ttl_ms = of[ttl_of + first]
  if held_count >= room.short then
    return first, tail
  elseif ttl_ms ~= term_ttl then
    set_term(ttl_ms)
  end
  if ttl_refused then
    term_ttl = nil -- `take` says so
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
