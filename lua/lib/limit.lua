-- limit: how a call is answered that would pass a limit of the tenant's tier.

-- Tells those who listen that a limit of the tier was reached, at most once a second per limit.
local function tell_limit(kind, most)
  local told_ms = tonumber(redis.call('HGET', META, 'told:' .. kind)) or 0
  if told_ms <= now_ms and now_ms < told_ms + 1000 then
    return
  end
  redis.call('HSET', META, 'told:' .. kind, string.format('%d', now_ms))
  redis.call(PUBLISH, CHANNEL, cmsgpack.pack('L', TENANT, now_ms, LABEL, kind, most))
end

-- The answer of the call; `ends_ms` is when the first of what is in use ends, or false.
local function over_limit(kind, most, used, ends_ms)
  tell_limit(kind, most)
  return cmsgpack.pack('LIMIT', now_us, math.max(last, floor), kind, most, used, ends_ms)
end

-- The same for what may be held at once.
local function over_held_limit(used)
  local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  return over_limit('ConcurrentReservations', HELD_LIMIT, used, tonumber(first[2]) or false)
end
