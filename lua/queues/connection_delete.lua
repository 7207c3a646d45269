-- connection_delete: a connection ends with its ingest key and its watch.
--
-- function  connection_delete
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 connections  hash    connection -> packed connection
--   3 watches      hash    connection -> packed watch; `fence:<connection>` -> the number of its latest take
--   4 cursors      hash    connection -> packed names and cursors
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3 connection
-- returns       OK, now_us, position, its ingest key's hash | NOT_FOUND, now_us, position | STALE, RATE as reserve
-- cost          O(1); what was observed through it goes by connection_forget
function connection_delete(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local id = args[3]
  local packed = call('HGET', keys[2], id)
  if not packed then
    return close_call('NOT_FOUND')
  end
  local hash = unpack_sequence(packed)
  call('HDEL', META, 'q:' .. hash)
  call('HDEL', keys[2], id)
  call('HDEL', keys[3], id, 'fence:' .. id)
  call('HDEL', keys[4], id)
  move_version()
  save()
  publish_message(pack('C', caller.tenant, 'q:' .. hash))
  return outcome('OK', hash)
end
