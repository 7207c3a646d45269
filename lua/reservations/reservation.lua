-- reservation: how what is held is written, and what can be read of it without taking it apart.
--
-- gives  reservation
-- A reservation, packed: fence deadline since token | requester kind label end_user note | place. `deadline` is false where it has none,
-- `token` where it is held only as a blocker. The place is 0 for what stands alone, most of what is held; else
--   pool path blockers slots used length 1
--   pool       of a slot: its pool; else false
--   path       of a thing in the tree: the path as it was when it was taken; else false
--   blockers   names that were taken along, or false
--   slots      of a slot: false: taken by its own name; true: through the pool's; an array: the first of several that one reservation has, and
--              the indexes of all; a number: one of the others, and the index of the first. Else false
--   used       by how many reservations it is used as a blocker, in five bytes
--   length     how many bytes the first four take, in five bytes: so the place is found from the end
-- 2 is added to the last byte (0 or 1) while somebody waits for it. The bytes from the requester on are also in the reservation's events.
-- In the index a deadline stands as eight bytes, big end first; NEVER is what has none.
reservation = {}
local tail_before, requester_before
local UINT32 = 206
local END_BYTES = 11 -- used, length and the last byte
local ENDS_MOST = 2048 -- bytes of a place whose end is remembered
local ends = {} -- length -> these bytes, where it is no blocker
reservation.ALONE, reservation.NEVER = '\0', '\255\255\255\255\255\255\255\255'
reservation.BLOCKS_ONLY = '\194\194\194\194\206\0\0\0\1\206\0\0\0\4\1' -- the place of what would stand alone and is used as a blocker once

-- Where fence, deadline and since end: 27 bytes, or 19 where it has no deadline.
function reservation.stamp(packed)
  return byte(packed, 10) == UINT64 and 27 or 19
end

-- Whether it has a token: else it is held as a blocker only.
function reservation.has_token(packed)
  return byte(packed, (byte(packed, 10) == UINT64 and 27 or 19) + 1) == TEXT_16_BYTE
end

function reservation.holder(packed)
  local _, _, _, _, _, holder = unpack_limit(packed, 5, 0)
  return holder
end

-- The requester of a tail (requester kind ...). In a batch it is mostly the same as before.
function reservation.requester(tail)
  if tail ~= tail_before then
    local _, requester = unpack_limit(tail, 1, 0)
    tail_before, requester_before = tail, requester
  end
  return requester_before
end

-- Where the stamp of a reservation ends if token and packed requester prove it; else false.
function reservation.proved(packed, token, who)
  local stamp = byte(packed, 10) == UINT64 and 27 or 19
  return find(packed, TEXT_16 .. token .. who, stamp + 1, true) == stamp + 1 and stamp
end

-- Pool, path, blockers, slots, used of a reservation.
function reservation.place(packed)
  if byte(packed, -1) % 2 == 0 then
    return false, false, false, false, 0
  end
  local length = #packed
  local _, pool, path, blockers, slots, used = unpack_limit(packed, 5, length - END_BYTES - take_apart('>I4', packed, length - 4))
  return pool, path, blockers, slots, used
end

function reservation.pack_place(pool, path, blockers, slots, used)
  local first = (pool and text_head(pool) .. pool or FALSE) .. (path and text_head(path) .. path or FALSE) .. (blockers and pack(blockers) or FALSE)
    .. (slots == true and TRUE or slots and pack(slots) or FALSE)
  local length = #first
  if used > 0 then
    return first .. put('>BI4BI4B', UINT32, used, UINT32, length, 1)
  end
  local final = ends[length]
  if not final then
    final = put('>BI4BI4B', UINT32, 0, UINT32, length, 1)
    if length <= ENDS_MOST then
      ends[length] = final
    end
  end
  return first .. final
end

-- The place of a slot that was taken through the name of its pool, which stands in no tree; made once of what was read of a pool.
function reservation.place_through(record)
  local place = record.place_through
  if not place then
    place = reservation.pack_place(record.name, false, false, true, 0)
    record.place_through = place
  end
  return place
end

-- The deadline of a reservation as the index has it.
function reservation.deadline(packed)
  return byte(packed, 10) == UINT64 and sub(packed, 11, 18) or reservation.NEVER
end

-- When something that is held will be free: the latest of its own deadline and those of what it is used by; false: without an end.
function reservation.free_at(name, packed)
  local own = byte(packed, 10) == UINT64 and take_apart('>I8', packed, 11)
  if reservation.used(packed) > 0 then
    local member = stage.find_member('u' .. name, nil, true)
    if not member then
      return own -- it was not looked for: the call is refused
    end
    if sub(member, #name + 3, #name + 10) == reservation.NEVER then
      return false
    end
    local latest = take_apart('>I8', member, #name + 3)
    return not reservation.has_token(packed) and latest or own and max(own, latest)
  end
  return own
end

-- A reservation with another token, deadline and place. Fence, since and what is between stay.
function reservation.with_place(packed, token, deadline_ms, place)
  local _, _, _, since, _, requester, kind, label, end_user, note_text = unpack_limit(packed, 9, 0)
  return sub(packed, 1, 9) .. pack(deadline_ms, since, token, requester, kind, label, end_user, token and note_text) .. place
end

function reservation.used(packed)
  return byte(packed, -1) % 2 == 0 and 0 or (take_apart('>I4', packed, #packed - 9))
end

function reservation.with_one_more_use(packed)
  if byte(packed, -1) % 2 == 0 then
    return sub(packed, 1, -2) .. reservation.BLOCKS_ONLY
  end
  return sub(packed, 1, -11) .. put('>I4', reservation.used(packed) + 1) .. sub(packed, -6)
end

-- The reservation with one use less; it stands alone again where its place says nothing else.
function reservation.with_one_use_less(packed)
  if sub(packed, -#reservation.BLOCKS_ONLY) == reservation.BLOCKS_ONLY then
    return sub(packed, 1, -#reservation.BLOCKS_ONLY - 1) .. reservation.ALONE
  end
  return sub(packed, 1, -11) .. put('>I4', reservation.used(packed) - 1) .. sub(packed, -6)
end
