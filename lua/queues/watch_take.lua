-- watch_take: a replica acquires the lease of a connection's watch, if nobody holds it.
--
-- function  watch_take
-- flags
-- keys
--   1 connections  hash    connection -> packed connection
--   2 watches      hash    connection -> packed watch; `fence:<connection>` -> the number of its latest take
-- args
--   1 connection
--   2 replica
--   3 lease        how long it holds unless it is renewed, ms
-- returns       OK, now_us, 0, fence, packed connection, when the broker was last watched, ms since epoch (of one never reached: when its lease was first taken; false: it never was), whether
--               the last holder released the lease
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
  local watch = call('HGET', keys[2], id)
  local until_ms, watched_ms, is_released, event_ms, _ = 0, false, false, false, nil
  if watch then
    _, until_ms, watched_ms, is_released, _, event_ms = unpack_sequence(watch)
  end
  if until_ms > now_ms then
    return outcome('HELD')
  end
  local fence = call('HINCRBY', keys[2], 'fence:' .. id, '1')
  -- The fields of a watch: see lua/README.md. Error, missing right, lag and since when it is watched begin anew.
  call('HSET', keys[2], id, pack(replica, now_ms + lease_ms, watched_ms or now_ms, false, false, event_ms, false, false, false))
  return outcome('OK', fence, packed, watched_ms, is_released)
end
