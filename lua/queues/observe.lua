-- observe: what was observed of a connection's jobs, workers and queues becomes their state, and what that changed is published.
--
-- function  observe
-- flags
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 connections  hash    connection -> packed connection
--   3 watches      hash    `fence:<connection>` -> the number of its present watcher
--   4 cursors      hash    connection -> packed names and cursors: up to where its broker's streams are part of the state
--   5 jobs         hash    job -> packed job
--   6 job_details  hash    job -> packed details
--   7 jobs_created zset    job -> when it was made, ms
--   8 jobs_open    zset    job -> when it was last seen, ms, within a minute; of those that have not ended
--   9 jobs_finished zset   job -> when it was seen to have ended, ms
--   10 workers     hash    connection, worker -> packed worker
--   11 beats       zset    connection, worker -> until when it counts as alive, ms; of those that are not offline
--   12 absent      zset    connection, worker -> since when it is offline, ms
--   13 queues      hash    connection, queue -> packed queue
--   14 queues_seen zset    connection, queue -> when it was last seen, ms
--   15 counts      hash    what ended when; the day's events; bytes of the jobs
--   16 due         zset    `tenant/queues` -> when its queues are to be looked after (the partition's)
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3 connection   as text
--   4 connection   its 16 bytes
--   5 framework    its number
--   6 fence        of the watcher, or empty: pushed by a client
--   7 jobs         the most that are kept
--   8 day          the most events that may be pushed per day, 0: no limit
--   9 extensions   the most bytes of a job's extensions
--   10 beyond      how many more events of the same push follow in further calls, which the day must hold, too
--   11 cursors     packed names and cursors to set, or empty
--   12.. one packed observation each, in the order of their times: see README
-- returns       OK, now_us, position, how many were new, how many were known
--               | GONE, now_us, position when there is no such connection
--               | OUTDATED, now_us, position when another watcher has taken it over
--               | TOO_MUCH_WORK, now_us, position: send fewer at once; a single one is never too much
--               | LIMIT, now_us, position, limit type, limit, events, when the day ends in ms | STALE, RATE as reserve
-- cost          O(observations * log jobs + bytes), bounded
-- invariants    a watcher that was replaced changes nothing; state and cursors move together; what is published of a job's run never goes back
local FIRST = 12 -- argument
local DAY_MS = 86400000
local BULLMQ = 1 -- framework
local EVICTED_BEYOND_NEW = 100 -- jobs that a call evicts beside as many as it brought

-- The number of the day, and how many events were pushed in it.
local function read_day()
  local today, packed = floor(now_ms / DAY_MS), call('HGET', key.counts, 'day')
  local day, used
  if packed then
    day, used = unpack_sequence(packed)
  end
  return today, day == today and used or 0
end

-- The cursors that are known, with others set.
local function join_cursors(known, others)
  local cursors, place = known and unpack_sequence(known) or {}, {}
  for n = 1, #cursors, 2 do
    place[cursors[n]] = n
  end
  local list = unpack_sequence(others)
  for n = 1, #list, 2 do
    local at = place[list[n]] or #cursors + 1
    place[list[n]], cursors[at], cursors[at + 1] = at, list[n], list[n + 1]
  end
  return pack(cursors)
end

-- The observations of a call; nil where they are more than a call may take.
local function read_observations(args)
  local observations = {}
  for n = FIRST, #args do
    local seen = unpack_sequence(args[n])
    local more = seen[1] == 'J' and seen[19]
    local queues = seen[1] == 'W' and seen[11]
    spent = spent + (seen[1] == 'J' and 7 or 3) + #args[n] / budget.step_bytes + (more and #more[9] / 8 or 0) + (queues and #queues / 2 or 0)
    if spent > budget.observe_steps then
      return nil
    end
    observations[n - FIRST + 1] = seen
  end
  return observations
end

-- Joins an observation with what is known. Answers whether it was known.
local function join(seen)
  local kind = seen[1]
  if kind == 'J' then
    return jobs.observe(seen)
  elseif kind == 'W' then
    return workers.observe(seen)
  elseif kind == 'Q' then
    return queue_rows.observe(seen)
  end
  monitor.note({ 'g', whole(seen[2]), whole(seen[3]), seen[4] })
  return false
end

function observe(keys, args)
  local refusal = monitor.begin(keys, args)
  if refusal then
    return refusal
  end
  local id, fence, kept_most, day_most, cursors = args[3], args[6], tonumber(args[7]), tonumber(args[8]), args[11]
  local is_pushed = fence == ''
  if call('HEXISTS', key.connections, id) == 0 then
    return close_call('GONE')
  end
  if not is_pushed and call('HGET', key.watches, 'fence:' .. id) ~= fence then
    return close_call('OUTDATED')
  end
  local today, used
  if is_pushed then
    today, used = read_day()
    if day_most > 0 and used + #args - FIRST + 1 + args[10] > day_most then
      return over_limit('EventsPerDay', day_most, used, (today + 1) * DAY_MS)
    end
  end
  local observations = read_observations(args)
  if not observations then
    return close_call('TOO_MUCH_WORK')
  end
  local source = { connection = args[4], framework = tonumber(args[5]) }
  source.is_ordered = source.framework == BULLMQ and not is_pushed -- its streams have the true order, and one clock
  counters.begin()
  workers.begin(source)
  queue_rows.begin(source)
  details.begin(tonumber(args[9]))
  jobs.begin(source, observations)
  local known = 0
  for n = 1, #observations do
    known = known + (join(observations[n]) and 1 or 0)
    if spent > budget.observe_steps and n > 1 then
      return close_call('TOO_MUCH_WORK')
    end
  end

  -- Nothing is refused from here on.
  local new = #observations - known
  local fresh, grown = jobs.write()
  workers.write()
  queue_rows.write()
  counters.write()
  if cursors ~= '' then
    call('HSET', key.cursors, id, join_cursors(call('HGET', key.cursors, id), cursors))
  end
  if is_pushed and new > 0 then
    call('HSET', key.counts, 'day', pack(today, used + new))
  end
  if grown ~= 0 then
    retention.add_bytes(grown)
  end
  if fresh > 0 or grown > 0 then
    retention.evict_jobs(kept_most, fresh + EVICTED_BEYOND_NEW)
  end
  if monitor.due_ms then
    call('ZADD', key.due, 'LT', digits(monitor.due_ms), monitor.due_member)
  end
  monitor.publish(source.connection, monitor.changes)
  return close_call('OK', new, known)
end
