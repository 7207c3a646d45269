-- force_release: end reservations whoever holds them, and say why: a resource, every slot of a pool, a blocker with its users.
--
-- function  force_release
-- flags     allow-oom
-- keys      as reserve
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, resource, reason (the sentence that subscribers are shown, or ''), from which slot of a pool on (0 to begin),
--                  up to which fence (0 to begin)
-- returns       OK, now_us, position, then the released names
--               | MORE, now_us, position, from which slot on, up to which fence, then the names released so far: call again with these two
-- cost          O(released * (depth + blocks) * log held), bounded
-- invariants    what is taken after the call has begun stays: its fence is greater
local UNRESERVED = '\170UNRESERVED\174FORCE_RELEASED'
local USERS_AT_ONCE = '64'
local released, released_count, said, up_to

-- Ends a reservation unless it came after the call.
local function finish_one(name)
  local packed = look(name)
  if not packed or not reservation.has_token(packed) then
    return
  end
  local _, _, _, slots = reservation.place(packed)
  if type(slots) == 'number' then
    name = match(name, '^(.+_)') .. text_of(slots)
    packed = look(name)
  end
  if take_apart('>I8', packed, 2) > up_to then
    return
  end
  give_up(name, packed)
  for n = 1, freed_count do
    released_count = released_count + 1
    released[released_count] = freed[n]
  end
  next_position()
  emit(said, sub(packed, 1, 9), no_term(), sub(packed, reservation.stamp(packed) + 18), name)
end

-- Ends what holds a thing: itself, and whatever it was taken along with. Answers whether it is free of both.
local function finish_all(name)
  finish_one(name)
  local offset = 0
  while look(name) and reservation.used(look(name)) > 0 do
    local page = call('ZRANGE', INDEX, '[u' .. name .. '\0', '(u' .. name .. '\1', 'BYLEX', 'LIMIT', digits(offset), USERS_AT_ONCE)
    spent, offset = spent + 1, offset + #page
    for n = 1, #page do
      finish_one(sub(page[n], #name + 11))
      if is_piece_done() then
        return false
      end
    end
    if #page == 0 then
      break
    end
  end
  return true
end

-- Ends every held slot of a pool from `from` on. Answers from where to go on, or nil.
local function finish_slots(pool, from)
  local first_bit, final = pool.first_bit, pool.first_bit + pool.extent - 1
  while true do
    local bit = stage.next_held_bit(first_bit + from, final)
    if not bit then
      return nil
    end
    from = bit - first_bit
    if not finish_all(pool.name .. '_' .. text_of(from)) then
      return from
    end
    from = from + 1
    if is_piece_done() then
      return from
    end
  end
end

function force_release(keys, args)
  local _, cost, floor_at, resource, reason, from, fence = unpack_limit(args[2], 6, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  released, released_count, up_to = {}, 0, fence > 0 and fence or position
  said = UNRESERVED .. pack(reason ~= '' and reason, false)
  local record, slot = resolve(resource)
  local more
  if record and not slot and record.capacity > 1 then
    more = finish_slots(record, from)
  end
  if not more and not finish_all(resource) then
    more = record and record.extent or 0
  end
  answer(pack_list(released))
  if more then
    plan.write()
    return outcome('MORE', more, up_to) .. answers[1]
  end
  return plan.finish()
end
