-- usage: how much of what its tier limits a tenant uses.
--
-- function  usage
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, credentials, how many resources are registered
--   2 streams      hash    "<replica>/<number>" -> "" for a key's or token's stream, the session for a cookie's
--   3 replicas     zset    replica -> until when it counts as alive, ms since epoch (the partition's)
--   4 keys         hash    key id -> packed key
--   5 companies    hash    slug -> packed company
--   6 connections  hash    connection -> packed connection
--   7 counts       hash    what ended when; the day's events
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
-- returns       OK, now_us, position, reservations held, event streams of keys and tokens, keys, registered resources, companies,
--               connections, queue events pushed today | STALE, RATE as reserve
-- cost          O(streams of the tenant), bounded
local DAY_MS = 86400000

function usage(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local packed, day, pushed = call('HGET', keys[7], 'day'), nil, 0
  if packed then
    day, pushed = unpack_sequence(packed)
  end
  local streams = stream_slots.count(keys[2], keys[3], '', '')
  return close_call('OK', held_count, streams, call('HLEN', keys[4]), tonumber(call('HGET', META, 'resources')) or 0, call('HLEN', keys[5]),
    call('HLEN', keys[6]), day == floor(now_ms / DAY_MS) and pushed or 0)
end
