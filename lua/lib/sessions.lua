-- sessions: how sessions end. Needs `open`.

local function end_session(sessions, hash)
  redis.call('HDEL', META, 's:' .. hash)
  redis.call('ZREM', sessions, hash)
  redis.call(PUBLISH, CHANNEL, cmsgpack.pack('C', TENANT, 's:' .. hash))
end

-- Every session that a key opened ends with it.
local function end_sessions_of(sessions, key_hash)
  for _, hash in ipairs(redis.call('ZRANGE', sessions, 0, -1)) do
    local packed = redis.call('HGET', META, 's:' .. hash)
    local owner = packed and select(3, cmsgpack.unpack(packed))
    if not packed or owner == key_hash then
      end_session(sessions, hash)
    end
  end
end

-- Removes what has ended by itself, a bounded number. A session that was used meanwhile ends later than the set says.
local function tidy_sessions(sessions)
  for _, hash in ipairs(redis.call('ZRANGEBYSCORE', sessions, '-inf', now_ms, 'LIMIT', 0, 100)) do
    local packed = redis.call('HGET', META, 's:' .. hash)
    local ends_ms = packed and cmsgpack.unpack(packed) or 0
    if ends_ms > now_ms then
      redis.call('ZADD', sessions, ends_ms, hash)
    else
      end_session(sessions, hash)
    end
  end
end
