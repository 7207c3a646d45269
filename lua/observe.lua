#!lua
-- observe: what was seen of a connection's jobs, workers and queues becomes their state, and what that changed is told.
--
-- uses          open, limit, digits, fold, sightings, retention
-- keys
--   1 meta          hash    position, credentials
--   2 connections   hash    connection -> packed connection
--   3 watches       hash    `fence:<connection>` -> the number of its present watcher
--   4 cursors       hash    connection -> packed names and cursors: up to where its broker's streams are part of the state
--   5 jobs          hash    job -> packed job
--   6 job_details   hash    job -> packed details
--   7 jobs_created  zset    job -> when it was made, ms
--   8 jobs_open     zset    job -> when it was last seen, ms, within a minute; of those that have not ended
--   9 jobs_finished zset    job -> when it was seen to have ended, ms
--   10 workers      hash    connection, worker -> packed worker
--   11 beats        zset    connection, worker -> when it was last heard, ms; of those that are not offline
--   12 absent       zset    connection, worker -> since when it is offline, ms
--   13 queues       hash    connection, queue -> packed queue
--   14 queues_seen  zset    connection, queue -> when it was last seen, ms
--   15 counts       hash    what ended when; the day's events
--   16 due          zset    tenant -> its earliest deadline; `tenant/queues` -> when its queues are to be looked after (the partition's)
-- args
--   1 caller      see open
--   2 connection  as text
--   3 connection  its 16 bytes
--   4 framework   its number
--   5 fence       of the watcher, or empty: pushed by a client
--   6 jobs        the most that are kept
--   7 day         the most events that may be pushed per day, 0: no limit
--   8 extensions  the most bytes of a job's extensions
--   9 beyond      how many more events of the same push follow in further calls, which the day must hold, too
--   10 cursors    packed names and cursors to set, or empty
--   11.. one packed sighting each, in the order of their times: see README
-- returns       OK, now_us, position, how many were new, how many were known
--               | GONE, now_us, position when there is no such connection
--               | OUTDATED, now_us, position when another watcher has taken it over
--               | LIMIT, now_us, position, limit type, limit, events, when the day ends in ms
-- cost          O(sightings * log jobs)
-- invariants    a watcher that was replaced changes nothing; state and cursors move together; what a job is told to be never goes back
local FENCE, JOBS_MOST, DAY_MOST = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local WORKERS_MOST, QUEUES_MOST = 5000, 5000
local SEEN_AGAIN_MS = 60000

if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then
  return cmsgpack.pack({ 'GONE', now_us, position })
end
if FENCE ~= '' and redis.call('HGET', KEYS[3], 'fence:' .. ARGV[2]) ~= FENCE then
  return cmsgpack.pack({ 'OUTDATED', now_us, position })
end
local today = math.floor(now_ms / 86400000)
local day, used = today, 0
if FENCE == '' then
  local packed = redis.call('HGET', COUNTS, 'day')
  if packed then
    day, used = cmsgpack.unpack(packed)
  end
  used = day == today and used or 0
  if DAY_MOST > 0 and used + #ARGV - 10 + tonumber(ARGV[9]) > DAY_MOST then
    return over_limit('EventsPerDay', DAY_MOST, used, (today + 1) * 86400000)
  end
end

local sightings = {}
for i = 11, #ARGV do
  sightings[#sightings + 1] = cmsgpack.unpack(ARGV[i])
end
read_jobs(sightings)
local new, known = 0, 0
for _, seen in ipairs(sightings) do
  local kind = seen[1]
  local was_known = false
  if kind == 'J' then
    was_known = see_job(seen)
  elseif kind == 'W' then
    was_known = see_worker(seen)
  elseif kind == 'Q' then
    was_known = see_queue(seen)
  else
    notes[#notes + 1] = { 'g', seen[2], seen[3], seen[4] }
  end
  if was_known then
    known = known + 1
  else
    new = new + 1
  end
end

-- Nothing is refused from here on.
local look_ms
local function look_by(ms)
  look_ms = math.min(look_ms or ms, ms)
end
local function zadd(index, score, member)
  redis.call('ZADD', index, digits(score), member)
end

local fresh = 0
for _, id in ipairs(job_ids) do
  local job, was = jobs[id], known_jobs[id]
  local finished = TERMINAL[job[7]]
  if not was then
    fresh = fresh + 1
    look_by(now_ms + JOB_KEPT_MS)
  end
  if not was or was[1] ~= job[10] then
    zadd(JOBS_CREATED, job[10], id)
  end
  local was_finished = was and TERMINAL[was[2]]
  if not was or was_finished ~= finished or (not finished and now_ms - was[3] > SEEN_AGAIN_MS) then
    job[21] = now_ms
    zadd(finished and JOBS_FINISHED or JOBS_OPEN, now_ms, id)
    if was and was_finished ~= finished then
      redis.call('ZREM', finished and JOBS_OPEN or JOBS_FINISHED, id)
    end
  end
  redis.call('HSET', JOBS, id, cmsgpack.pack(job))
  if details[id] then
    redis.call('HSET', JOB_DETAILS, id, cmsgpack.pack(details[id]))
  end
end

local spare_workers = WORKERS_MOST - (#worker_ids > 0 and redis.call('HLEN', WORKERS) or 0)
for _, key in ipairs(worker_ids) do
  local worker = workers[key]
  local is_new = redis.call('HEXISTS', WORKERS, key) == 0
  if not is_new or spare_workers > 0 then
    spare_workers = spare_workers - (is_new and 1 or 0)
    redis.call('HSET', WORKERS, key, cmsgpack.pack(worker))
    if worker[5] == OFFLINE then
      redis.call('ZREM', BEATS, key)
      redis.call('ZADD', ABSENT, 'NX', digits(now_ms), key)
      look_by(now_ms + JOB_KEPT_MS)
    else
      redis.call('ZREM', ABSENT, key)
      zadd(BEATS, worker[6], key)
      look_by(worker[6] + SILENT_MS)
    end
  end
end

local spare_queues = QUEUES_MOST - (#queue_ids > 0 and redis.call('HLEN', QUEUES) or 0)
for _, key in ipairs(queue_ids) do
  local queue = queues[key]
  local is_new = queue[9] == 0
  local seen_long_ago = now_ms - queue[9] > SEEN_AGAIN_MS
  if not is_new or spare_queues > 0 then
    spare_queues = spare_queues - (is_new and 1 or 0)
    if seen_long_ago then
      queue[9] = now_ms
      zadd(QUEUES_SEEN, now_ms, key)
      look_by(now_ms + QUEUE_KEPT_MS)
    end
    redis.call('HSET', QUEUES, key, cmsgpack.pack(queue))
  end
end

for _, tally in ipairs(ended_order) do
  local who = tally[1]
  local is_queue = string.sub(who, 17, 17) == 'q'
  if redis.call('HEXISTS', is_queue and QUEUES or WORKERS, CONNECTION .. string.sub(who, 18)) == 1 then
    for _, ring in ipairs(is_queue and QUEUE_RINGS or WORKER_RINGS) do
      local span = math.floor(tally[2] / ring[2])
      local field = who .. '\0' .. ring[1] .. span % ring[3]
      local packed = redis.call('HGET', COUNTS, field)
      local there, done, failed, waited, of = span, 0, 0, 0, 0
      if packed then
        there, done, failed, waited, of = cmsgpack.unpack(packed)
      end
      if there < span then
        there, done, failed, waited, of = span, 0, 0, 0, 0
      end
      if there == span then
        redis.call('HSET', COUNTS, field, cmsgpack.pack(span, done + tally[3], failed + tally[4], waited + tally[5], of + tally[6]))
      end
    end
  end
end

if ARGV[10] ~= '' then
  local cursors, at = {}, {}
  for _, pairs_of in ipairs({ redis.call('HGET', KEYS[4], ARGV[2]) or cmsgpack.pack({}), ARGV[10] }) do
    local list = cmsgpack.unpack(pairs_of)
    for i = 1, #list, 2 do
      local place = at[list[i]]
      if not place then
        place = #cursors + 1
        at[list[i]] = place
        cursors[place] = list[i]
      end
      cursors[place + 1] = list[i + 1]
    end
  end
  redis.call('HSET', KEYS[4], ARGV[2], cmsgpack.pack(cursors))
end
if FENCE == '' and new > 0 then
  redis.call('HSET', COUNTS, 'day', cmsgpack.pack(today, used + new))
end
if fresh > 0 then
  forget_old_jobs(JOBS_MOST, 2 * fresh + 100)
end
if look_ms then
  redis.call('ZADD', DUE, 'LT', digits(look_ms), DUE_MEMBER)
end
if #notes > 0 then
  redis.call(PUBLISH, CHANNEL, cmsgpack.pack('Q', TENANT, CONNECTION, notes))
end
return cmsgpack.pack({ 'OK', now_us, position, new, known })
