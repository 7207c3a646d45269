-- open: what every script does first: read the clock once, prove the caller, count the call, learn the tenant's position.
--
-- keys          1 meta
-- args          1 caller: a MessagePack sequence. Per call: its cost; the floor: the highest position of this tenant that the replica has seen;
--                 below 0: it has forgotten that, and it was at most so much. Made once per credential, what every call needs: whether it is
--                 a session, version (false for the sweep, which proves nothing), channel, publish command, history length (as text: Redis
--                 would make one of a number each time), how events begin, held limit (0: none), rate per second (0: none), burst, when the
--                 credential ends in ms or false. Then what few do, which `caller` unpacks, for Redis makes a text of each text: tenant,
--                 credential (a field of meta, or false for the sweep), api key label or false, end user (the token's `sub`) or false,
--                 whether names need registration
-- leaves        now_us, now_ms, last, due, position, backlog and the caller's parts to the script
-- returns       STALE, now_us when the credential is gone or the tenant changed since the replica looked: it looks again
--               | RATE, now_us, position, rate, wait_us when the call comes too early; only the rate's state was written
-- Before each answer goes the rate's backlog in us. The script's own part runs as a function whose answer `close` sends, unless it uses
-- `straight`: then it writes the tenant's state and puts the backlog before its answers itself, which costs Redis a tenth less, and unpacks
-- the rest of the caller where it needs it.
local rest, COST, floor, IS_SESSION, VERSION, CHANNEL, PUBLISH, HISTORY_LENGTH, HEAD, HELD_LIMIT, RATE, BURST, ENDS_MS = cmsgpack.unpack_limit(ARGV[1], 12, 0)
local TENANT, CREDENTIAL, LABEL, END_USER, REQUIRE_REGISTRATION
local META = KEYS[1]

local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now_us / 1000)

local state = redis.call('HGET', META, 'state')
if not state then
  return cmsgpack.pack(0, 'STALE', now_us)
end
-- The position of the last kept event; a lower bound of the tenant's earliest deadline, or false; when the history's age is looked after
-- next; when the rate will be whole again; the version, which moves when a setting changes or a credential other than a session ends, so
-- that it proves the caller's; how many are held, or false where that was not counted; where the history of batches is cut (`end_plain`).
-- What a call changes of these is written once, at its end (`save`).
local last, due, upkeep, rate, version, held_count, cut_below, counted_since, counted = struct.unpack('<ddddddddd', state)
due, held_count = due > 0 and due, held_count >= 0 and held_count
local unsaved = false
if VERSION and version ~= VERSION or ENDS_MS and now_ms >= ENDS_MS then
  return cmsgpack.pack(0, 'STALE', now_us)
end
local session_ends_ms, session_last_ms, session_key, session_idle_ms
if IS_SESSION then
  -- here: caller
  local session = redis.call('HGET', META, CREDENTIAL)
  if session then
    session_ends_ms, session_last_ms, session_key, session_idle_ms = cmsgpack.unpack(session)
  end
  if not session or now_ms >= session_ends_ms then
    return cmsgpack.pack(0, 'STALE', now_us)
  end
end
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
  backlog = rate > now_us and rate - now_us or 0
  if COST > 0 then
    -- Above the burst it is where the clock was set back or the tier changed. That locks nobody out: it counts as the burst from now on.
    local beyond = backlog > most + 1
    backlog = beyond and most or backlog
    local over = backlog + COST * unit - most
    if over > 1 then -- the microsecond is for what was rounded on the way
      if beyond then
        rate = now_us + backlog
        -- here: save
      end
      -- here: caller
      -- here: limit
      tell_limit('RequestRate', RATE)
      return cmsgpack.pack(math.ceil(backlog), 'RATE', now_us, position, RATE, math.ceil(over))
    end
    backlog = backlog + COST * unit
    rate, unsaved = now_us + backlog, true
  end
  backlog = math.ceil(backlog < most and backlog or most)
end

-- A session that is used lasts longer, never beyond its last moment; written down only when it is worth it.
if IS_SESSION and session_ends_ms < session_last_ms and session_ends_ms - now_ms < session_idle_ms * 0.9 then
  local ends_ms = math.min(now_ms + session_idle_ms, session_last_ms)
  redis.call('HSET', META, CREDENTIAL, cmsgpack.pack(ends_ms, session_last_ms, session_key, session_idle_ms))
end
