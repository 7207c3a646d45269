-- open: what every script does first: read the clock once, prove the caller, count the call, learn the tenant's position.
--
-- keys          1 meta
-- args          1 caller: a MessagePack sequence, made once per credential by the replica:
--                 tenant, credential (a field of meta, or false for the sweep), version, channel, publish command,
--                 history length (as text: Redis would make one of a number each time), how events begin, api key label or false, end user (the token's `sub`) or false, held limit (0: none),
--                 whether names need registration, rate per second (0: none), burst, when the credential ends in ms or false, and, per call, its cost
--               2 floor: the highest position of this tenant that the replica has seen; below 0: it has forgotten that, and it was at most so much
-- leaves        now_us, now_ms, last, due, position, backlog and the caller's parts to the script
-- returns       STALE, now_us when the credential is gone or the tenant changed since the replica looked: it looks again
--               | RATE, now_us, position, rate, wait_us when the call comes too early; only the rate's state was written
-- Before each answer goes the rate's backlog in us. The script's own part runs as a function whose answer `close` sends, unless it uses
-- `straight`: then it writes the tenant's state and puts the backlog before its answers itself, which costs Redis a tenth less.
local TENANT, CREDENTIAL, VERSION, CHANNEL, PUBLISH, HISTORY_LENGTH, HEAD, LABEL, END_USER, HELD_LIMIT, REQUIRE_REGISTRATION, RATE, BURST, ENDS_MS, COST =
  cmsgpack.unpack(ARGV[1])
local META = KEYS[1]

local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now_us / 1000)

local meta = redis.call('HMGET', META, 'state', 'version', CREDENTIAL or 'version')
if not meta[3] or (CREDENTIAL and meta[2] ~= VERSION) or (ENDS_MS and now_ms >= ENDS_MS) then
  return cmsgpack.pack(0, 'STALE', now_us)
end
local session = CREDENTIAL and string.sub(CREDENTIAL, 1, 2) == 's:'
local session_ends_ms, session_last_ms, session_key, session_idle_ms
if session then
  session_ends_ms, session_last_ms, session_key, session_idle_ms = cmsgpack.unpack(meta[3])
  if now_ms >= session_ends_ms then
    return cmsgpack.pack(0, 'STALE', now_us)
  end
end
-- The position of the last kept event; a lower bound of the tenant's earliest deadline, or false; when the history's age is looked after
-- next; when the rate will be whole again. What a call changes of these is written once, at its end.
local last, due, upkeep, rate = cmsgpack.unpack(meta[1])
local unsaved = false
local floor = ARGV[2] + 0
if floor < 0 then
  floor = now_us > -floor and 0 or -floor -- a clock that is past it makes positions grow by itself
end
local position = last < floor and floor or last -- above `last` only where Redis lost writes that a replica has seen

-- GCRA: `backlog` is how long in microseconds until the rate is whole again. A call adds its cost's share of a second to it, and is
-- admitted while the burst holds it.
local backlog = 0
if RATE > 0 then
  local unit = 1000000 / RATE
  local most = BURST * unit
  backlog = math.max(rate - now_us, 0)
  if COST > 0 then
    -- Above the burst it is where the clock was set back or the tier changed. That locks nobody out: it counts as the burst from now on.
    local beyond = backlog > most + 1
    backlog = math.min(backlog, most)
    local over = backlog + COST * unit - most
    if over > 1 then -- the microsecond is for what was rounded on the way
      if beyond then
        redis.call('HSET', META, 'state', cmsgpack.pack(last, due, upkeep, now_us + backlog))
      end
      -- here: limit
      tell_limit('RequestRate', RATE)
      return cmsgpack.pack(math.ceil(backlog), 'RATE', now_us, position, RATE, math.ceil(over))
    end
    backlog = backlog + COST * unit
    rate, unsaved = now_us + backlog, true
  end
  backlog = math.ceil(math.min(backlog, most))
end

-- A session that is used lasts longer, never beyond its last moment; written down only when it is worth it.
if session and session_ends_ms < session_last_ms and session_ends_ms - now_ms < session_idle_ms * 0.9 then
  local ends_ms = math.min(now_ms + session_idle_ms, session_last_ms)
  redis.call('HSET', META, CREDENTIAL, cmsgpack.pack(ends_ms, session_last_ms, session_key, session_idle_ms))
end
