-- sessions: how sessions end.
--
-- gives  sessions
-- A tenant has at most some 1,000 (an argument of `session_create`), so all of them may be looked at in one call.
local TIDIED_AT_ONCE = '100'
sessions = {}

-- Ends these sessions: they are refused from here on, and their streams are notified.
function sessions.remove(key, hashes)
  if #hashes == 0 then
    return
  end
  local fields, ended = {}, {}
  for n = 1, #hashes do
    fields[n] = 's:' .. hashes[n]
    ended[n] = pack('C', caller.tenant, fields[n])
  end
  call('HDEL', META, unpack(fields))
  call('ZREM', key, unpack(hashes))
  publish_message(concat(ended))
end

-- The packed sessions of these hashes, each `false` where it is gone.
local function read_sessions(hashes)
  local fields = {}
  for n = 1, #hashes do
    fields[n] = 's:' .. hashes[n]
  end
  return #fields > 0 and call('HMGET', META, unpack(fields)) or fields
end

-- Every session that a key opened ends with it.
function sessions.remove_of_key(key, key_hash)
  local hashes, ended = call('ZRANGE', key, '0', '-1'), {}
  local found = read_sessions(hashes)
  for n = 1, #hashes do
    local owner = found[n] and select(3, unpack_sequence(found[n]))
    if not found[n] or owner == key_hash then
      ended[#ended + 1] = hashes[n]
    end
  end
  sessions.remove(key, ended)
end

-- Removes what has ended by itself, a bounded number. A session that was used meanwhile ends later than the set says.
function sessions.tidy(key)
  local hashes, ended = call('ZRANGEBYSCORE', key, '-inf', digits(now_ms), 'LIMIT', '0', TIDIED_AT_ONCE), {}
  local found = read_sessions(hashes)
  for n = 1, #hashes do
    local ends_ms = found[n] and unpack_sequence(found[n]) or 0
    if ends_ms > now_ms then
      call('ZADD', key, digits(ends_ms), hashes[n])
    else
      ended[#ended + 1] = hashes[n]
    end
  end
  sessions.remove(key, ended)
end
