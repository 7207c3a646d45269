-- open: what every script does first: read the clock once, prove the caller, count the call, learn the tenant's position.
--
-- keys          1 meta
-- args          1 caller: a MessagePack sequence, made once per credential by the replica:
--                 tenant, credential (a field of meta, or false for the sweep), version, channel, publish command,
--                 history length, api key label or false, end user (the token's `sub`) or false, held limit (0: none),
--                 whether names need registration, rate per second (0: none), burst, when the credential ends in ms or false, and, per call, its cost
--               2 floor: the highest position of this tenant that the replica has seen
-- leaves        now_us, now_ms, last, due, position and the caller's parts to the script
-- returns       STALE, now_us when the credential is gone or the tenant changed since the replica looked: it looks again
--               | RATE, now_us, position, rate, wait_us when the call comes too early; only the rate's state was written
-- The script's own part runs as the function decide(); its answer goes out beside `backlog`.
local TENANT, CREDENTIAL, VERSION, CHANNEL, PUBLISH, HISTORY_LENGTH, LABEL, END_USER, HELD_LIMIT, REQUIRE_REGISTRATION, RATE, BURST, ENDS_MS, COST =
  cmsgpack.unpack(ARGV[1])
local META = KEYS[1]

local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now_us / 1000)

local meta = redis.call('HMGET', META, 'position', 'due', 'upkeep', 'version', CREDENTIAL or 'version', 'rate')
if not meta[5] or (CREDENTIAL and meta[4] ~= VERSION) or (ENDS_MS and now_ms >= ENDS_MS) then
  return { cmsgpack.pack({ 'STALE', now_us }), 0 }
end
local session = CREDENTIAL and string.sub(CREDENTIAL, 1, 2) == 's:'
local session_ends_ms, session_last_ms, session_key, session_idle_ms
if session then
  session_ends_ms, session_last_ms, session_key, session_idle_ms = cmsgpack.unpack(meta[5])
  if now_ms >= session_ends_ms then
    return { cmsgpack.pack({ 'STALE', now_us }), 0 }
  end
end
local last = tonumber(meta[1]) -- the position of the last kept event
local due = tonumber(meta[2]) -- the tenant's earliest deadline, or nil
local position = math.max(last, tonumber(ARGV[2])) -- above `last` only where Redis lost writes that a replica has seen

-- Whole numbers beyond 2^31 need the format: tostring() would write 1.79e+15.
local function digits(number)
  return string.format('%d', number)
end

-- Tells those who listen that a limit of the tier was reached, at most once a second per limit.
local function tell_limit(kind, most)
  local told = tonumber(redis.call('HGET', META, 'told:' .. kind)) or 0
  if told <= now_ms and now_ms < told + 1000 then
    return
  end
  redis.call('HSET', META, 'told:' .. kind, digits(now_ms))
  redis.call(PUBLISH, CHANNEL, cmsgpack.pack('L', TENANT, now_ms, LABEL, kind, most))
end

-- The answer of a call that would pass a limit of the tier; `ends_ms` is when the first of what is in use ends, or false.
local function over_limit(kind, most, used, ends_ms)
  tell_limit(kind, most)
  return cmsgpack.pack({ 'LIMIT', now_us, math.max(last, tonumber(ARGV[2])), kind, most, used, ends_ms })
end

-- GCRA: `backlog` is how long in microseconds until the rate is whole again. A call adds its cost's share of a second to it, and is
-- admitted while the burst holds it.
local backlog = 0
if RATE > 0 then
  local unit = 1000000 / RATE
  local most = BURST * unit
  backlog = math.max((tonumber(meta[6]) or 0) - now_us, 0)
  if COST > 0 then
    -- Above the burst it is where the clock was set back or the tier changed. That locks nobody out: it counts as the burst from now on.
    local beyond = backlog > most + 1
    backlog = math.min(backlog, most)
    local over = backlog + COST * unit - most
    if over > 1 then -- the microsecond is for what was rounded on the way
      if beyond then
        redis.call('HSET', META, 'rate', string.format('%.2f', now_us + backlog))
      end
      tell_limit('RequestRate', RATE)
      return { cmsgpack.pack({ 'RATE', now_us, position, RATE, math.ceil(over) }), backlog }
    end
    backlog = backlog + COST * unit
    redis.call('HSET', META, 'rate', string.format('%.2f', now_us + backlog))
  end
  backlog = math.min(backlog, most)
end

-- A session that is used lasts longer, never beyond its last moment; written down only when it is worth it.
if session and session_ends_ms < session_last_ms and session_ends_ms - now_ms < session_idle_ms * 0.9 then
  local ends_ms = math.min(now_ms + session_idle_ms, session_last_ms)
  redis.call('HSET', META, CREDENTIAL, cmsgpack.pack(ends_ms, session_last_ms, session_key, session_idle_ms))
end
