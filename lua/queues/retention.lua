-- retention: what is kept of jobs, workers and queues, and for how long; nothing grows without a bound.
--
-- gives  retention
-- A tenant's jobs take JOB_BYTES each on average, all together, as far as its tier keeps them: whoever stores long texts keeps fewer. The field
-- `bytes` of `counts` has their sum.
local QUEUE_KEPT_MS = 7 * 24 * 3600000
local JOB_BYTES = 2000
local JOB_OVERHEAD = 400 -- bytes that Redis takes for a job beside its texts
retention = { JOB_KEPT_MS = 24 * 3600000, QUEUE_KEPT_MS = QUEUE_KEPT_MS, JOB_OVERHEAD = JOB_OVERHEAD }

-- Adds to what jobs take in bytes; answers the sum.
function retention.add_bytes(bytes)
  local sum = call('HINCRBY', key.counts, 'bytes', digits(bytes))
  if sum <= 0 or bytes < 0 and call('EXISTS', key.jobs) == 0 then
    call('HDEL', key.counts, 'bytes')
    return 0
  end
  return sum
end

-- Removes jobs from every key. Answers how many.
function retention.forget_jobs(ids)
  if #ids == 0 then
    return 0
  end
  local bytes = 0
  for n = 1, #ids do
    bytes = bytes + call('HSTRLEN', key.jobs, ids[n]) + call('HSTRLEN', key.job_details, ids[n]) + JOB_OVERHEAD
  end
  monitor.run('HDEL', key.jobs, ids)
  monitor.run('HDEL', key.job_details, ids)
  monitor.run('ZREM', key.jobs_created, ids)
  monitor.run('ZREM', key.jobs_open, ids)
  monitor.run('ZREM', key.jobs_finished, ids)
  retention.add_bytes(-bytes)
  spent = spent + 4 * #ids
  return #ids
end

-- How many jobs there are more than `kept`, or too long all together: as many as take the excess on average.
local function count_excess(kept)
  local count, bytes = call('ZCARD', key.jobs_created), tonumber(call('HGET', key.counts, 'bytes') or 0)
  return max(count - kept, bytes > kept * JOB_BYTES and ceil((1 - kept * JOB_BYTES / bytes) * count) or 0)
end

-- Lets go of at most `most` jobs that are older than a day, or more or longer than may be kept: the oldest finished first. Answers how many.
function retention.evict_jobs(kept, most)
  local old, gone = digits(now_ms - retention.JOB_KEPT_MS), 0
  for _, index in ipairs({ key.jobs_finished, key.jobs_open }) do
    gone = gone + retention.forget_jobs(call('ZRANGEBYSCORE', index, '-inf', old, 'LIMIT', '0', digits(most - gone)))
  end
  for _, index in ipairs({ key.jobs_finished, key.jobs_open }) do
    local excess = min(count_excess(kept), most - gone)
    if excess > 0 then
      gone = gone + retention.forget_jobs(call('ZRANGE', index, '0', digits(excess - 1)))
    end
  end
  return gone
end

-- Removes rows whose time has passed from a hash and from the index of those times, with their counts. Answers how many.
local function forget_rows(index, rows, before_ms, kind, most)
  local gone = 0
  for _, row in ipairs(call('ZRANGEBYSCORE', index, '-inf', digits(before_ms), 'LIMIT', '0', digits(most))) do
    if spent > budget.piece_steps then
      break
    end
    counters.forget(sub(row, 1, 16) .. kind .. sub(row, 17), kind)
    call('HDEL', rows, row)
    call('ZREM', index, row)
    gone, spent = gone + 1, spent + 2
  end
  return gone
end

-- Lets go of workers that have been gone for a day, and of queues that nobody has seen for a week, about `most` of each.
function retention.forget_absent(most)
  return forget_rows(key.absent, key.workers, now_ms - retention.JOB_KEPT_MS, 'w', most)
    + forget_rows(key.queues_seen, key.queues, now_ms - QUEUE_KEPT_MS, 'q', most)
end

-- When the tenant's queues are to be looked after next if nothing happens: when the first worker falls silent, or the first job has been kept for
-- long enough. Nil: never.
function retention.next_look()
  local at
  local indexes = {
    { key.beats, 0 }, { key.jobs_finished, retention.JOB_KEPT_MS }, { key.jobs_open, retention.JOB_KEPT_MS }, { key.absent, retention.JOB_KEPT_MS },
    { key.queues_seen, QUEUE_KEPT_MS },
  }
  for _, index in ipairs(indexes) do
    local first = call('ZRANGE', index[1], '0', '0', 'WITHSCORES')
    if first[2] then
      at = min(at or math.huge, first[2] + index[2])
    end
  end
  return at
end
