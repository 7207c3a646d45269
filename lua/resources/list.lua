-- list: a page of the active reservations, in no order.
--
-- function  list
-- flags     allow-oom
-- keys      as reserve
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, cursor ("0" to begin), name behind which to go on (''), most rows
-- returns       OK, now_us, position, next cursor, name behind which to go on ("0" and '': that was all), then per reservation: name, packed
--               reservation, when it ends as a whole or false, array of names it blocks for or false
--               | AGAIN, STALE, RATE as reserve
-- cost          O(rows + uses), bounded
local USERS_MOST, USERS_BYTES = 1000, 64 * 1024 -- of one row

-- What a blocker blocks for, at most so many.
local function users_of(name)
  local users, size, from = {}, 0, #name + 11
  local members = call('ZRANGE', INDEX, '[u' .. name .. '\0', '(u' .. name .. '\1', 'BYLEX', 'LIMIT', '0', digits(USERS_MOST))
  for n = 1, #members do
    if size > USERS_BYTES then
      break
    end
    users[n] = sub(members[n], from)
    size = size + #users[n]
  end
  spent = spent + 1 + #members / 4
  return users[1] and users or false
end

local function row(name, packed)
  local users = reservation.used(packed) > 0 and users_of(name)
  return text_head(name) .. name .. text_head(packed) .. packed .. pack(reservation.free_at(name, packed), users)
end

function list(keys, args)
  local _, cost, floor_at, cursor, after, limit = unpack_limit(args[2], 5, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  local next_cursor, next_after, rows = read_page(HELD, cursor, after, limit, row)
  answer(pack(next_cursor, next_after) .. concat(rows))
  return plan.finish()
end
