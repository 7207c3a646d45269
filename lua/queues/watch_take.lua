-- watch_take: a replica takes a connection to watch, if nobody has it.
--
-- function  watch_take
-- flags
-- keys
--   1 connections  hash    connection -> packed connection
--   2 watches      hash    connection -> packed watch; `fence:<connection>` -> the number of its latest take
-- args
--   1 connection
--   2 replica
--   3 lease        for how many ms, if it is not kept
-- returns       OK, now_us, 0, fence, packed connection, until when it was watched before in ms or false, whether that watcher gave it back
--               | HELD, now_us, 0 | GONE, now_us, 0 when there is no such connection
-- cost          O(1)
-- invariants    a lease has one holder; the fence grows with each take, so what an earlier holder still sends is refused
function watch_take(keys, args)
  local id, replica, lease_ms = unpack(args)
  read_clock()
  local packed = call('HGET', keys[1], id)
  if not packed then
    return outcome('GONE')
  end
  local before = call('HGET', keys[2], id)
  local until_ms, kept_ms, is_given_back, event_ms, _ = 0, false, false, false, nil
  if before then
    _, until_ms, kept_ms, is_given_back, _, event_ms = unpack_sequence(before)
  end
  if until_ms > now_ms then
    return outcome('HELD')
  end
  local fence = call('HINCRBY', keys[2], 'fence:' .. id, '1')
  call('HSET', keys[2], id, pack(replica, now_ms + lease_ms, kept_ms or now_ms, false, false, event_ms, false, false))
  return outcome('OK', fence, packed, kept_ms, is_given_back)
end
