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

-- here: digits
local function next_position()
  position = math.max(position + 1, now_us)
  return position
end

-- An event: what depends on the moment comes first, so that a replica can send the rest ready-made where it knows it. Its fence comes
-- before its position, which is `true` where it is the fence.
local function pack(previous, at, kind, explanation, reason, request, resource, requester, resource_type, label, fence, deadline, pool, blockers, method, changes)
  return HEAD .. cmsgpack.pack(previous, fence, deadline, now_ms, at, kind, explanation, reason, request, resource_type, requester, label, pool, blockers,
    method or false, changes or false, resource)
end

-- A kept event at `at`. `last` names the event before it, so that a reader can prove that it missed none.
local function tell(at, ...)
  local event = pack(last, at, ...)
  redis.call('XADD', HISTORY, 'MAXLEN', '~', HISTORY_LENGTH, digits(at), 'e', event)
  last = at
  told[#told + 1] = event
end

-- A refusal: published for those who listen now, never kept, without a position.
local function tell_refusal(...)
  told[#told + 1] = pack(false, false, ...)
end

-- Writes reservations: `records` is name, packed, name, packed ...; `deadlines` is ms, name, ms, name ...
local function keep(records, deadlines)
  held_count = false
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

-- The tenant's earliest deadline, read anew once its lower bound has passed.
local function refresh_due()
  local first = redis.call('ZRANGE', DEADLINES, 0, 0, 'WITHSCORES')
  due = tonumber(first[2]) or false
  moved_due = true
end

-- After deadlines have gone: a bound that is too low only makes somebody look in vain once, but where none is left none may stay.
local function forget_due()
  if due and redis.call('EXISTS', DEADLINES) == 0 then
    due, moved_due = false, true
  end
end

-- Removes reservations. `dated` is whether any had a deadline.
local function drop(names, dated)
  held_count = false
  for first = 1, #names, 2000 do
    local final = math.min(first + 1999, #names)
    redis.call('HDEL', HELD, unpack(names, first, final))
    if dated then
      redis.call('ZREM', DEADLINES, unpack(names, first, final))
    end
  end
  if dated then
    forget_due()
  end
end

-- Tells the sweep when to look at the tenant.
local function note_due()
  if due then
    redis.call('ZADD', DUE, digits(due), TENANT)
  else
    redis.call('ZREM', DUE, TENANT)
  end
end

-- Every now and then the history loses what is old, and what is held is counted, in case somebody changed it by hand.
local function look_after_history()
  redis.call('XTRIM', HISTORY, 'MINID', '~', digits(now_us - HISTORY_US))
  redis.call('EXPIRE', HISTORY, HISTORY_TTL_S)
  upkeep = now_us + UPKEEP_US
  held_count = redis.call('HLEN', HELD)
end

-- The last act: the tenant's state, then everything told in one message.
local function commit()
  if moved_due then
    note_due()
  end
  if now_us > upkeep then
    look_after_history()
  end
  -- here: save
  unsaved = false
  redis.call(PUBLISH, CHANNEL, table.concat(told))
end

-- Publishes refusals where nothing changed.
local function commit_refusals()
  if #told > 0 then
    redis.call(PUBLISH, CHANNEL, table.concat(told))
  end
end
