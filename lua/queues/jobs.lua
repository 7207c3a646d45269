-- jobs: what was observed of jobs, joined with what is known of them.
--
-- gives  jobs
-- A job is an array; README says of each place what it holds. Nothing is written before `write`.
local NAME, QUEUE, WORKER, STATE, SINCE_MS, PREVIOUS, CREATED_MS, STARTED_MS, COMPLETED_MS, SCHEDULED_MS, RUNTIME_MS, ATTEMPT, ERROR =
  4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
local MARK, PUBLISHED, STEPS, STAMPS, INDEXED_MS, BASE, SAID_STARTED_MS, SAID_COMPLETED_MS, PUBLISHED_US, HAS_WHOLE_ERROR =
  17, 18, 19, 20, 21, 22, 23, 24, 25, 26
local UNKNOWN, SCHEDULED, QUEUED, ACTIVE, RETRYING, FAILED, COMPLETED = 0, 1, 2, 3, 4, 6, 7
local BEGINS = { [SCHEDULED] = true, [QUEUED] = true, [ACTIVE] = true }
local ERROR_BYTES = 200 -- of an error text that lists show; details have the whole
local SEEN_AGAIN_MS = 60000 -- how exactly it is kept when an open job was seen last
local REORDERED_US = 10 * 1000000 -- events of several clocks come in the wrong order within this
local ATTEMPTS_MOST = 2 ^ 31
local TRANSITIONS_A_STEP = 3 -- transitions that are gone through, published and packed in one step of the budget
local source -- connection's 16 bytes, framework, whether events come in their true order
local rows, ids, sizes, known -- `known`: created ms, state, indexed ms of each job as it was stored
jobs = { ERROR_BYTES = ERROR_BYTES, ERROR = ERROR, HAS_WHOLE_ERROR = HAS_WHOLE_ERROR }

-- Begins a call and reads what is known of the observed jobs.
function jobs.begin(from, observations)
  source, rows, ids, sizes, known = from, {}, {}, {}, {}
  local detailed, is_detailed = {}, {}
  for n = 1, #observations do
    local seen = observations[n]
    if seen[1] == 'J' then
      local id, error = seen[2], seen[12]
      if rows[id] == nil then
        rows[id], ids[#ids + 1] = false, id
      end
      if (seen[19] or error and #error > ERROR_BYTES) and not is_detailed[id] then
        is_detailed[id], detailed[#detailed + 1] = true, id
      end
    end
  end
  for first = 1, #ids, 2000 do
    local found = call('HMGET', key.jobs, unpack(ids, first, min(first + 1999, #ids)))
    for n = 1, #found do
      local id, packed = ids[first + n - 1], found[n]
      if packed then
        local job = unpack_sequence(packed)
        rows[id], sizes[id], known[id] = job, #packed, { job[CREATED_MS], job[STATE], job[INDEXED_MS] }
        spent = spent + #packed / budget.step_bytes
      end
    end
  end
  spent = spent + 2 * #ids
  details.read(detailed)
end

local function new_job(external_id, ms)
  return { source.connection, source.framework, external_id, false, false, false, UNKNOWN, ms, false, ms, false, false, false, false, false,
    false, 0, false, {}, { 0, 0, 0, 0, 0, 0, 0, 0 }, 0, false, false, false, 0, false }
end

-- Whether an ended job's id is used again: it is queued or runs once more, later than it ended, and that is no further attempt of it. Where
-- several clocks order the events, that must be certain by the times when they were received, too.
local function is_used_again(id, job, state, us, attempt)
  if not BEGINS[state] or not fold.TERMINAL[job[STATE]] or us <= job[SINCE_MS] * 1000 + 999
    or fold.advance(job[STATE], job[MARK], state, attempt) then
    return false
  end
  local was = known[id]
  return source.is_ordered
    or us > job[SINCE_MS] * 1000 + REORDERED_US and was and fold.TERMINAL[was[2]] and (now_ms - was[3]) * 1000 > REORDERED_US
end

-- The job begins anew. Its name and its queue stay until others are observed.
local function begin_again(id, job, us)
  local limit_us = job[SINCE_MS] * 1000 + (source.is_ordered and 999 or REORDERED_US)
  local stamps = job[STAMPS]
  for n = 3, 8 do
    stamps[n] = limit_us
  end
  job[BASE], job[STEPS] = fold.begin_again(job[STEPS], limit_us)
  job[STATE], job[CREATED_MS], job[MARK], job[PUBLISHED], job[PUBLISHED_US] = UNKNOWN, floor(min(us, job[STEPS][2] or us) / 1000), 0, false, 0
  for _, place in ipairs({ WORKER, PREVIOUS, STARTED_MS, COMPLETED_MS, SCHEDULED_MS, RUNTIME_MS, ATTEMPT, ERROR, SAID_STARTED_MS,
    SAID_COMPLETED_MS, HAS_WHOLE_ERROR }) do
    job[place] = false
  end
  details.begin_again(id, limit_us)
end

-- Takes a value, unless a later observation brought another. Answers whether it was taken.
local function take(job, place, stamp, value, us)
  local stamps = job[STAMPS]
  if value ~= false and us >= stamps[stamp] then
    job[place], stamps[stamp] = value, us
    return true
  end
end

local function take_error(id, job, text, us)
  if text and take(job, ERROR, 4, short_text(text, ERROR_BYTES), us) then
    job[HAS_WHOLE_ERROR] = #text > ERROR_BYTES
    if job[HAS_WHOLE_ERROR] then
      details.set_error(id, text)
    end
  end
end

-- Publishes that a job has gone into a state. What would lead back without a retry leads through one: a later attempt shows that there was.
-- Answers when the job ended, in ms, where it did.
local function publish_step(id, job, state, us)
  local ms, before = floor(us / 1000), job[PUBLISHED]
  if before == state then
    return
  end
  if before and state ~= RETRYING and fold.RANK[state] <= fold.RANK[before] then
    monitor.note({ 'j', id, job[NAME], RETRYING, before, ms })
    before = RETRYING
  end
  monitor.note({ 'j', id, job[NAME], state, before, ms })
  job[PUBLISHED], job[PUBLISHED_US] = state, us
  if (state == COMPLETED or state == FAILED) and not fold.TERMINAL[before] then
    return ms
  end
end

-- Publishes the steps of a job that lead further than what was published, and happened later.
local function publish_steps(id, job, mark, since)
  local ended_ms
  if mark > job[MARK] then
    local steps, published_mark, published_us = job[STEPS], job[MARK], job[PUBLISHED_US]
    for n = 1, #steps, fold.WIDTH do
      if steps[n + 4] > published_mark and steps[n + 1] > published_us then
        ended_ms = publish_step(id, job, steps[n], steps[n + 1]) or ended_ms
      end
    end
  end
  if job[PUBLISHED] ~= job[STATE] and fold.RANK[job[STATE]] > fold.RANK[job[PUBLISHED] or UNKNOWN] then
    -- Clocks differ: it got further by what seems to have happened earlier.
    ended_ms = publish_step(id, job, job[STATE], since) or ended_ms
  end
  if job[PUBLISHED] == job[STATE] then
    job[MARK], job[PUBLISHED_US] = max(job[MARK], mark), since
  end
  return ended_ms
end

local function count_end(job, ms)
  local is_completed, is_failed = job[STATE] == COMPLETED, job[STATE] == FAILED
  local waited_ms = job[STARTED_MS] and job[STARTED_MS] - job[CREATED_MS]
  if job[QUEUE] then
    counters.add(source.connection, 'q', job[QUEUE], ms, is_completed, is_failed, waited_ms)
  end
  if job[WORKER] then
    counters.add(source.connection, 'w', job[WORKER], ms, is_completed, is_failed, waited_ms)
  end
end

-- Goes through the job's transitions again.
local function settle_state(id, job)
  job[BASE], job[STEPS] = fold.shorten(job[BASE], job[STEPS])
  local state, mark, previous, since, started = fold.run(job[BASE], job[STEPS])
  job[STATE], job[SINCE_MS], job[PREVIOUS] = state, floor(since / 1000), previous
  -- What somebody said outright counts more than what follows from the order.
  job[STARTED_MS] = job[SAID_STARTED_MS] or started
  job[COMPLETED_MS] = fold.TERMINAL[state] and (job[SAID_COMPLETED_MS] or job[SINCE_MS]) or false
  local ended_ms = publish_steps(id, job, mark, since)
  if ended_ms then
    count_end(job, ended_ms)
  end
  spent = spent + #job[STEPS] / (fold.WIDTH * TRANSITIONS_A_STEP)
end

-- Joins an observation of a job. Answers whether it was known.
function jobs.observe(seen)
  local _, id, external_id, us, clock, state, is_again, attempt, name, queue, worker, error = unpack(seen, 1, 12)
  local created_ms, started_ms, completed_ms, scheduled_ms, runtime_ms, _, more = unpack(seen, 13, 19)
  us, clock, attempt = time_us(us), whole(clock) or 0, min(whole(attempt) or 0, ATTEMPTS_MOST)
  local ms, job, has_begun_again = floor(us / 1000), rows[id], false
  if not job then
    job = new_job(external_id, ms)
    rows[id] = job
  elseif state and not is_again and is_used_again(id, job, state, us, attempt) then
    begin_again(id, job, us)
    has_begun_again = true
  end
  take(job, NAME, 1, name, us)
  take(job, QUEUE, 2, queue, us)
  take(job, WORKER, 3, worker, us)
  take_error(id, job, error, us)
  take(job, SAID_STARTED_MS, 5, time_ms(started_ms), us)
  take(job, SAID_COMPLETED_MS, 6, time_ms(completed_ms), us)
  take(job, SCHEDULED_MS, 7, whole(scheduled_ms), us)
  take(job, RUNTIME_MS, 8, whole(runtime_ms), us)
  local from_ms = job[BASE] and not job[BASE][1] and floor(job[BASE][6] / 1000) or 0 -- of an id that is used again: not before it ended
  job[CREATED_MS] = max(min(job[CREATED_MS], time_ms(created_ms) or ms, ms), from_ms)
  if attempt > 0 then
    job[ATTEMPT] = max(job[ATTEMPT] or 0, attempt)
  end
  if more then
    details.observe(id, more, us)
  end
  if queue then
    queue_rows.look(queue)
  end
  if worker then
    workers.observe_job(worker, us, BEGINS[state])
  end
  local is_known = false
  if state then
    local is_changed
    is_known, is_changed = fold.insert(job[BASE], job[STEPS], state, us, clock, is_again and -1 or attempt)
    if is_changed or has_begun_again then
      settle_state(id, job)
    end
  else
    job[STARTED_MS] = job[SAID_STARTED_MS] or job[STARTED_MS]
    job[COMPLETED_MS] = fold.TERMINAL[job[STATE]] and (job[SAID_COMPLETED_MS] or job[COMPLETED_MS]) or false
  end
  return is_known
end

-- Writes what was observed. Answers how many jobs are new, and by how many bytes all have grown.
function jobs.write()
  local created, open, finished, no_longer_open, no_longer_finished, writes = {}, {}, {}, {}, {}, {}
  local function add(list, score, id)
    list[#list + 1], list[#list + 2] = digits(score), id
  end
  local fresh, grown, now = 0, 0, now_ms
  for n = 1, #ids do
    local id = ids[n]
    local job, was = rows[id], known[id]
    local is_finished, was_finished = fold.TERMINAL[job[STATE]], was and fold.TERMINAL[was[2]]
    if not was then
      fresh, grown = fresh + 1, grown + retention.JOB_OVERHEAD
      monitor.look_by(now + retention.JOB_KEPT_MS)
    end
    if not was or was[1] ~= job[CREATED_MS] then
      add(created, job[CREATED_MS], id)
    end
    if not was or was_finished ~= is_finished or not is_finished and now - was[3] > SEEN_AGAIN_MS then
      job[INDEXED_MS] = now
      add(is_finished and finished or open, now, id)
      if was and was_finished ~= is_finished then
        local left = is_finished and no_longer_open or no_longer_finished
        left[#left + 1] = id
      end
    end
    local packed = pack(job)
    writes[#writes + 1], writes[#writes + 2], grown = id, packed, grown + #packed - (sizes[id] or 0)
  end
  monitor.run('HSET', key.jobs, writes, 2)
  monitor.run('ZADD', key.jobs_created, created, 2)
  monitor.run('ZADD', key.jobs_open, open, 2)
  monitor.run('ZADD', key.jobs_finished, finished, 2)
  monitor.run('ZREM', key.jobs_open, no_longer_open)
  monitor.run('ZREM', key.jobs_finished, no_longer_finished)
  return fresh, grown + details.write()
end
