-- retention: what is kept of jobs, workers and queues, and for how long; nothing grows without a bound.
--
-- keys          5 jobs  6 job_details  7 jobs_created  8 jobs_open  9 jobs_finished  10 workers  11 beats  12 absent  13 queues
--               14 queues_seen  15 counts  16 due
local JOBS_CREATED, JOBS_OPEN, JOBS_FINISHED, BEATS, ABSENT, QUEUES_SEEN, COUNTS, DUE =
  KEYS[7], KEYS[8], KEYS[9], KEYS[11], KEYS[12], KEYS[14], KEYS[15], KEYS[16]
local JOB_KEPT_MS, QUEUE_KEPT_MS, SILENT_MS = 24 * 3600000, 7 * 24 * 3600000, 6000
local DUE_MEMBER = TENANT .. '/queues'

-- The rings of counts that somebody has: the letter of each, how many slots of 5 minutes make one of its spans, and how many spans it has.
local QUEUE_RINGS = { { 'm', 1, 13 }, { 'h', 6, 13 }, { 'd', 12, 169 } }
local WORKER_RINGS = { { 'm', 1, 13 } }

local function forget_counts(who, rings)
  for _, ring in ipairs(rings) do
    local fields = {}
    for slot = 0, ring[3] - 1 do
      fields[#fields + 1] = who .. '\0' .. ring[1] .. slot
    end
    redis.call('HDEL', COUNTS, unpack(fields))
  end
end

local function forget_jobs(ids)
  if #ids > 0 then
    redis.call('HDEL', KEYS[5], unpack(ids))
    redis.call('HDEL', KEYS[6], unpack(ids))
    redis.call('ZREM', JOBS_CREATED, unpack(ids))
    redis.call('ZREM', JOBS_OPEN, unpack(ids))
    redis.call('ZREM', JOBS_FINISHED, unpack(ids))
  end
  return #ids
end

-- Lets go of at most `most` jobs that are older than a day, or more than `kept`: the oldest finished first.
local function forget_old_jobs(kept, most)
  local old = digits(now_ms - JOB_KEPT_MS)
  local gone = forget_jobs(redis.call('ZRANGEBYSCORE', JOBS_FINISHED, '-inf', old, 'LIMIT', 0, most))
  gone = gone + forget_jobs(redis.call('ZRANGEBYSCORE', JOBS_OPEN, '-inf', old, 'LIMIT', 0, most - gone))
  for _, index in ipairs({ JOBS_FINISHED, JOBS_OPEN }) do
    local over = math.min(redis.call('ZCARD', JOBS_CREATED) - kept, most - gone)
    if over > 0 then
      gone = gone + forget_jobs(redis.call('ZRANGE', index, 0, over - 1))
    end
  end
  return gone
end

-- The same for workers that have been gone for a day, and for queues that nobody has seen for a week.
local function forget_absent(most)
  local gone = redis.call('ZRANGEBYSCORE', ABSENT, '-inf', digits(now_ms - JOB_KEPT_MS), 'LIMIT', 0, most)
  for _, key in ipairs(gone) do
    forget_counts(string.sub(key, 1, 16) .. 'w' .. string.sub(key, 17), WORKER_RINGS)
    redis.call('HDEL', KEYS[10], key)
    redis.call('ZREM', ABSENT, key)
  end
  local unseen = redis.call('ZRANGEBYSCORE', QUEUES_SEEN, '-inf', digits(now_ms - QUEUE_KEPT_MS), 'LIMIT', 0, most)
  for _, key in ipairs(unseen) do
    forget_counts(string.sub(key, 1, 16) .. 'q' .. string.sub(key, 17), QUEUE_RINGS)
    redis.call('HDEL', KEYS[13], key)
    redis.call('ZREM', QUEUES_SEEN, key)
  end
  return #gone + #unseen
end

-- When somebody must look again if nobody else does: when the first worker falls silent, or the first job has been kept for long enough.
local function next_look()
  local at
  for _, index in ipairs({ { BEATS, SILENT_MS }, { JOBS_FINISHED, JOB_KEPT_MS }, { JOBS_OPEN, JOB_KEPT_MS }, { ABSENT, JOB_KEPT_MS }, { QUEUES_SEEN, QUEUE_KEPT_MS } }) do
    local first = redis.call('ZRANGE', index[1], 0, 0, 'WITHSCORES')
    if first[2] then
      at = math.min(at or math.huge, tonumber(first[2]) + index[2])
    end
  end
  return at
end
