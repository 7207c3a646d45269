-- change: how a script changes reservations, and tells it.
--
-- keys          1 meta  2 held  3 deadlines  4 history  5 partition's due
-- Positions are handed out while planning; nothing is written before the first call of keep(), drop(), tell() or commit().
local HELD, DEADLINES, HISTORY, DUE = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local LAPSED_AT_ONCE = 256 -- about 5 ms of Redis' time; more than that and the caller is asked to come again
local UPKEEP_US = 600 * 1000000 -- how often the history's age is looked after
local HISTORY_US = 3600 * 1000000 -- how long an event is kept
local HISTORY_TTL_S = 3600 + 2 * 600

local told = {} -- what is published, in order, as the last act
local moved_due = false

local function next_position()
  position = math.max(position + 1, now_us)
  return position
end

-- An event's fields after its time: type, explanation, reason, request type, resource, requester, resource type, api key label, fence,
-- deadline, pool, blockers; a transaction's also method and changes, which are false in all others.
local function pack(previous, at, kind, explanation, reason, request, resource, requester, resource_type, label, fence, deadline, pool, blockers, method, changes)
  return cmsgpack.pack('R', TENANT, previous, at, now_ms, kind, explanation, reason, request, resource, requester, resource_type, label, fence, deadline, pool,
    blockers, method or false, changes or false)
end

-- A kept event at `at`. `last` names the event before it, so that a reader can prove that it missed none.
local function tell(at, ...)
  local event = pack(last, at, ...)
  redis.call('XADD', HISTORY, 'MAXLEN', '~', HISTORY_LENGTH, digits(at) .. '-0', 'e', event)
  last = at
  told[#told + 1] = event
end

-- A refusal: published for those who listen now, never kept, without a position.
local function tell_refusal(...)
  told[#told + 1] = pack(false, false, ...)
end

-- Writes reservations: `records` is name, packed, name, packed ...; `deadlines` is ms, name, ms, name ...
local function keep(records, deadlines)
  for first = 1, #records, 2000 do
    redis.call('HSET', HELD, unpack(records, first, math.min(first + 1999, #records)))
  end
  for first = 1, #deadlines, 2000 do
    redis.call('ZADD', DEADLINES, unpack(deadlines, first, math.min(first + 1999, #deadlines)))
  end
  for i = 1, #deadlines, 2 do
    if not due or deadlines[i] < due then
      due = deadlines[i]
      moved_due = true
    end
  end
end

-- The tenant's earliest deadline, read anew after some have gone or moved.
local function refresh_due()
  local first = redis.call('ZRANGE', DEADLINES, 0, 0, 'WITHSCORES')
  due = tonumber(first[2])
  moved_due = true
end

-- Removes reservations. `earliest` is the least of their deadlines, or nil when none had one.
local function drop(names, earliest)
  for first = 1, #names, 2000 do
    local final = math.min(first + 1999, #names)
    redis.call('HDEL', HELD, unpack(names, first, final))
    if earliest then
      redis.call('ZREM', DEADLINES, unpack(names, first, final))
    end
  end
  if earliest and earliest <= due then
    refresh_due()
  end
end

-- The last act: the tenant's position and earliest deadline, then everything told in one message.
local function commit()
  redis.call('HSET', META, 'position', digits(position))
  if moved_due then
    if due then
      redis.call('HSET', META, 'due', digits(due))
      redis.call('ZADD', DUE, due, TENANT)
    else
      redis.call('HDEL', META, 'due')
      redis.call('ZREM', DUE, TENANT)
    end
  end
  if now_us > (tonumber(meta[3]) or 0) then
    redis.call('XTRIM', HISTORY, 'MINID', '~', digits(now_us - HISTORY_US))
    redis.call('EXPIRE', HISTORY, HISTORY_TTL_S)
    redis.call('HSET', META, 'upkeep', digits(now_us + UPKEEP_US))
  end
  redis.call(PUBLISH, CHANNEL, table.concat(told))
end

-- Publishes refusals where nothing changed.
local function commit_refusals()
  if #told > 0 then
    redis.call(PUBLISH, CHANNEL, table.concat(told))
  end
end
