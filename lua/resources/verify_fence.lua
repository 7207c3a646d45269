-- verify_fence: is this fencing token the one of the resource's present holder? Of a pool: of one of its slots'?
--
-- function  verify_fence
-- flags     allow-oom
-- keys      as reserve
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, resource, fencing token
-- returns       OK, now_us, position, the present fencing token or false; of a pool the given one where it is a slot's, else the latest
--               | AGAIN, STALE, RATE as reserve
-- cost          O(log held slots)
local function fence_in(prefix, from, to, ...)
  local member = call('ZRANGE', INDEX, from, to, 'BYLEX', ...)[1]
  return member and take_apart('>I8', member, #prefix + 1)
end

function verify_fence(keys, args)
  local _, cost, floor_at, name, given = unpack_limit(args[2], 4, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  local packed, record, slot = look(name), resolve(name)
  local fence = packed and reservation.has_token(packed) and take_apart('>I8', packed, 2)
  if not packed and record and not slot and record.capacity > 1 then
    local prefix = 'v' .. name .. '\0'
    local exact = prefix .. put('>I8', max(given, 0))
    fence = fence_in(prefix, '[' .. exact, '(' .. exact .. ':', 'LIMIT', '0', '1') -- ':' comes after the digits
      or fence_in(prefix, '(v' .. name .. '\1', '[' .. prefix, 'REV', 'LIMIT', '0', '1')
  end
  answer(pack(fence or false))
  return plan.finish()
end
