-- key_delete: a key is refused from here on, and its streams are notified.
--
-- function  key_delete
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 keys         hash    key id -> packed key
--   3 sessions     zset    session hash -> when it ends, ms since epoch
--   4 used         hash    key id -> when it was last used, ms since epoch
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3 key id
-- returns       OK, now_us, position, its hash | NOT_FOUND, now_us, position | LAST_ADMIN, now_us, position | TOO_MUCH_WORK, now_us, position
--               | STALE, RATE as reserve
-- cost          O(sessions), and O(keys) where few have the scope admin
-- invariants    the last key with the scope admin stays: without it nobody could make another
local KEYS_AT_ONCE = '100'

local function is_admin(packed)
  local _, _, scopes = unpack_sequence(packed)
  return find(scopes, 'admin', 1, true) ~= nil
end

-- Whether another key than this one has the scope admin; nil: that takes more than a call may.
local function has_other_admin(key, id)
  local cursor = '0'
  repeat
    local scanned = call('HSCAN', key, cursor, 'COUNT', KEYS_AT_ONCE)
    local found = scanned[2]
    for n = 1, #found, 2 do
      if found[n] ~= id and is_admin(found[n + 1]) then
        return true
      end
    end
    cursor, spent = scanned[1], spent + 1 + #found / 2
    if spent > budget.steps then
      return nil
    end
  until cursor == '0'
  return false
end

function key_delete(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local id = args[3]
  local packed = call('HGET', keys[2], id)
  if not packed then
    return close_call('NOT_FOUND')
  end
  if is_admin(packed) then
    local has_other = has_other_admin(keys[2], id)
    if not has_other then
      return close_call(has_other == nil and 'TOO_MUCH_WORK' or 'LAST_ADMIN')
    end
  end
  local hash = unpack_sequence(packed)
  call('HDEL', META, 'k:' .. hash)
  call('HDEL', keys[2], id)
  call('HDEL', keys[4], id)
  move_version()
  save()
  sessions.remove_of_key(keys[3], hash)
  publish_message(pack('C', caller.tenant, 'k:' .. hash))
  return outcome('OK', hash)
end
