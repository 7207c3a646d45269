-- watch_keep: the holder of a watch's lease says how the watch goes, and renews the lease, or releases it.
--
-- function  watch_keep
-- flags
-- keys
--   1 connections  hash    connection -> packed connection
--   2 watches      hash    connection -> packed watch; `fence:<connection>` -> the number of its latest take
-- args
--   1 connection
--   2 fence        of the take
--   3 lease        for how many ms from now; 0 gives it back
--   4 error        class of what keeps the broker from being watched, or empty
--   5 since        when it has been watched without a break, ms since epoch, or 0
--   6 event        when the last one happened that was taken in, ms since epoch, or 0
--   7 lag          how long that took in ms, or empty
--   8 right        ACL rule of a right that the broker's user lacks, or empty
-- returns       OK, now_us, 0 | LOST, now_us, 0 when the connection is gone, or another replica took it
-- cost          O(1)
-- invariants    an outdated fence changes nothing
function watch_keep(keys, args)
  local id, fence, lease_ms, error, since_ms, last_event_ms, lag_ms, right = unpack(args)
  read_clock()
  local before = call('HGET', keys[2], id)
  if not before or call('HEXISTS', keys[1], id) == 0 or call('HGET', keys[2], 'fence:' .. id) ~= fence then
    return outcome('LOST')
  end
  local replica, _, watched_ms, _, _, event_ms = unpack_sequence(before)
  lease_ms, since_ms, last_event_ms = tonumber(lease_ms), tonumber(since_ms), tonumber(last_event_ms)
  -- A broker that is not reached is not watched: who takes over reports the gap from when it last was.
  if since_ms > 0 then
    watched_ms = now_ms
  end
  if last_event_ms > 0 then
    event_ms = last_event_ms
  end
  call('HSET', keys[2], id, pack(replica, lease_ms > 0 and now_ms + lease_ms or 0, watched_ms, lease_ms == 0, since_ms > 0 and since_ms, event_ms,
    tonumber(lag_ms) or false, error ~= '' and error, right ~= '' and right))
  return outcome('OK')
end
