-- stream_enter: a slot for one more event stream, if the tenant has one left on all replicas together.
--
-- function  stream_enter
-- flags
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 streams      hash    "<replica>/<number>" -> "" for a key's or token's stream, the session for a cookie's
--   3 replicas     zset    replica -> until when it counts as alive, ms since epoch (the partition's)
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3 replica
--   4 number       the stream's, on that replica
--   5 session      of a cookie's stream, or empty
--   6 most         streams of this kind (with a session, or without) that the tenant may have, 0: no limit
--   7 most         streams of the one session
--   8 alive        for how many ms from now the replica counts as alive
-- returns       OK, now_us, position | LIMIT, now_us, position, limit type, limit, streams, false | STALE, RATE as reserve
-- cost          O(streams of the tenant), bounded
-- invariants    the slot of a replica that has died is given to the next who asks; beyond 2,000 streams, to one of the next
local AT_ONCE = 2000

function stream_enter(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local _, _, replica, number, session, most, most_of_session, alive_ms = unpack(args)
  local limit, session_limit = tonumber(most), tonumber(most_of_session)
  local of_kind, of_session, dead = stream_slots.count(keys[2], keys[3], replica, session)
  -- Also where the call is refused: what has died is no write of it.
  if #dead > 0 then
    call('HDEL', keys[2], unpack(dead, 1, min(#dead, AT_ONCE)))
  end
  if limit > 0 and of_kind >= limit then
    return over_limit('SseConnections', limit, of_kind, false)
  end
  if session ~= '' and of_session >= session_limit then
    return over_limit('SseConnections', session_limit, of_session, false)
  end
  call('HSET', keys[2], replica .. '/' .. number, session)
  call('ZADD', keys[3], digits(now_ms + alive_ms), replica)
  return close_call('OK')
end
