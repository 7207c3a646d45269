-- open: how each counted call begins: read the clock once, read the tenant's state, prove the caller, count the call.
--
-- gives  META, now_us, now_ms, last, due, upkeep, held_count, kept, unsettled, waiting_count, ticket_count, position, position_packed, backlog, is_unsaved
-- gives  positions, read_clock, open, create_state, admit, begin_call, save, close_call, next_position, outcome, move_version
-- The state is fourteen doubles in one field, so that a call reads and writes all of it at once:
--   last            position of the last kept event
--   due             lower bound of the earliest deadline in ms; false (0): there is none
--   upkeep          when the history's age is looked after next, us
--   rate            when the rate will be whole again, us
--   version         when a setting last changed or a credential that is no session last ended, us; only grows
--   held_count      physical resources held
--   kept            events, bytes, entries of the history since it was cut last; entries kept from before that: see `history`
--   unsettled       1 while what is held does not yet know that it is part of a pool: see `settle`; else 0
--   waiting_count   tickets that wait
--   ticket_count    tickets in all: those that wait, were served, or ended within ten minutes
--   kept.not_kept   messages published of what is not kept: each is published behind its number, so that whoever misses one can know
-- `position` is the last one handed out, `backlog` how many us until the rate is whole again, `is_unsaved` whether `save` is due.
local STATE = '<dddddddddddddd'
local rate, version
local page, page_head -- 256 positions, and what all of them begin with, packed
local bytes = {}
for n = 0, 255 do
  bytes[n] = string.char(n)
end
positions = { byte_of = bytes } -- byte_of: the last byte of a position, in which most of a batch differ only
kept = { events = 0, bytes = 0, entries = 0, before = 0, not_kept = 0 }

function save()
  is_unsaved = false
  call('HSET', META, 'state',
    put(STATE, last, due or 0, upkeep, rate, version, held_count, kept.events, kept.bytes, kept.entries, kept.before, unsettled,
      waiting_count, ticket_count, kept.not_kept))
end

-- A setting of the tenant changes: what replicas remember of its credentials no longer proves anything.
function move_version()
  version, is_unsaved = max(version + 1, now_us), true
end

-- The next position: microseconds, or one more than the last. Those of what a call does follow each other.
function positions.next()
  return position < now_us and now_us or position + 1
end

-- What a position begins with, packed: all but its last byte.
function positions.head_of(at)
  local its_page = at - at % 256
  if its_page ~= page then
    page, page_head = its_page, sub(put('>BI8', UINT64, its_page), 1, 8)
  end
  return page_head
end

-- Hands out a position. Answers it packed; `position_packed` is that.
function next_position()
  local at = position < now_us and now_us or position + 1
  local low = at % 256
  if at - low ~= page then
    positions.head_of(at)
  end
  position, position_packed = at, page_head .. bytes[low]
  return position_packed
end

-- An answer: the backlog, a word, the clock and the position, then items.
function outcome(word, ...)
  return pack(backlog, word, now_us, position, ...)
end

-- The same as the last act of a call that changed nothing but the state.
function close_call(word, ...)
  if is_unsaved then
    save()
  end
  return outcome(word, ...)
end

-- A session that is used lasts longer, never beyond its last moment; written down only when it is worth it. Answers whether it still holds.
local function prove_session()
  local session = call('HGET', META, caller.credential)
  if not session then
    return false
  end
  local ends_ms, last_ms, key, idle_ms = unpack_sequence(session)
  if now_ms >= ends_ms then
    return false
  end
  if ends_ms < last_ms and ends_ms - now_ms < idle_ms * 0.9 then
    call('HSET', META, caller.credential, pack(min(now_ms + idle_ms, last_ms), last_ms, key, idle_ms))
  end
  return true
end

-- GCRA: a call adds its cost's share of a second to the backlog, and is admitted while the burst holds it; one that costs more than the burst costs
-- the burst. Answers the us to wait, or nil.
local function count_call(cost)
  local ahead = rate > now_us and rate - now_us or 0
  if cost > 0 then
    -- Above the burst it is where the clock was set back or the tier changed. That locks nobody out: it counts as the burst from now on.
    if ahead > caller.burst_us + 1 then
      ahead = caller.burst_us
      rate, is_unsaved = now_us + ahead, true
    end
    local cost_us = cost * caller.unit_us
    if cost_us > caller.burst_us then
      cost_us = caller.burst_us
    end
    local over = ahead + cost_us - caller.burst_us
    if over > 1 then -- the microsecond is for what was rounded on the way
      backlog = ceil(ahead)
      return over
    end
    ahead = ahead + cost_us
    rate, is_unsaved = now_us + ahead, true
  end
  backlog = ceil(ahead < caller.burst_us and ahead or caller.burst_us)
end

-- Proves a caller and counts its call. Answers a refusal, or nil.
function admit(packed_caller, cost)
  meet(packed_caller)
  backlog = 0
  if caller.version and version ~= caller.version or caller.ends_ms and now_ms >= caller.ends_ms or caller.is_session and not prove_session() then
    return pack(0, 'STALE', now_us, 0)
  end
  local wait_us = caller.unit_us and count_call(cost)
  if wait_us then
    publish_limit('RequestRate', caller.rate)
    if is_unsaved then
      save()
    end
    return outcome('RATE', caller.rate, ceil(wait_us))
  end
end

-- Begins a call that needs no tenant's state. Its answer has 0 for the backlog and for the position, until more is known.
function read_clock()
  local clock = call('TIME')
  now_us = clock[1] * 1000000 + clock[2]
  now_ms = floor(now_us / 1000)
  backlog, position, spent = 0, 0, 0
end

-- The state of a tenant that begins now.
function create_state(meta)
  META, last, due, upkeep, rate, version, held_count, unsettled, position = meta, now_us, false, 0, 0, now_us, 0, 0, now_us
  waiting_count, ticket_count = 0, 0
  kept.events, kept.bytes, kept.entries, kept.before, kept.not_kept = 0, 0, 0, 0, 0
  save()
end

-- Begins a call: reads the clock and the tenant's state. Answers a refusal, or nil. `admit` comes next, where there is a caller.
function open(meta, floor_at)
  META = meta
  read_clock()
  local now, state = now_us, call('HGET', meta, 'state')
  if not state then
    return outcome('STALE')
  end
  local last_at, due_ms
  last_at, due_ms, upkeep, rate, version, held_count, kept.events, kept.bytes, kept.entries, kept.before, unsettled,
    waiting_count, ticket_count, kept.not_kept = take_apart(STATE, state)
  last, due, is_unsaved = last_at, due_ms > 0 and due_ms, false
  -- The floor is the highest position that the replica has seen. Below 0: it has forgotten that, and it was at most so much; a clock that is
  -- past it makes positions grow by itself.
  if floor_at < 0 then
    floor_at = now > -floor_at and 0 or -floor_at
  end
  position = last_at < floor_at and floor_at or last_at
end

-- Both, for functions whose second argument begins with cost and floor, packed.
function begin_call(keys, args)
  local _, cost, floor_at = unpack_limit(args[2], 2, 0)
  return open(keys[1], floor_at) or admit(args[1], cost)
end
