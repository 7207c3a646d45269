-- sightings: what was seen of jobs, workers and queues, joined with what is known of them. Nothing is written here.
--
-- keys          5 jobs  6 job_details  10 workers  13 queues
-- args          4 connection  5 framework  9 extensions
local JOBS, JOB_DETAILS, WORKERS, QUEUES = KEYS[5], KEYS[6], KEYS[10], KEYS[13]
local CONNECTION, FRAMEWORK, EXTENSIONS_BYTES = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[8])
local TERMINAL = { [CANCELLED] = true, [6] = true, [COMPLETED] = true }
local OFFLINE = 3

local notes = {} -- what the stream is told
local jobs, details, workers, queues = {}, {}, {}, {} -- what was touched
local job_ids, worker_ids, queue_ids = {}, {}, {} -- in the order in which it was
local known_jobs = {} -- how each job was indexed before
local ended = {} -- what came to an end: who -> 5 minutes -> { done, failed, waited ms, of how many }
local ended_order = {}

-- Reads what is known of the jobs of a list of sightings at once.
local function read_jobs(sightings)
  local ids, detailed = {}, {}
  for _, seen in ipairs(sightings) do
    if seen[1] == 'J' then
      local id = seen[2]
      if jobs[id] == nil then
        jobs[id] = false
        ids[#ids + 1] = id
      end
      if seen[19] and details[id] == nil then
        details[id] = false
        detailed[#detailed + 1] = id
      end
    end
  end
  if #ids > 0 then
    for i, packed in ipairs(redis.call('HMGET', JOBS, unpack(ids))) do
      if packed then
        jobs[ids[i]] = cmsgpack.unpack(packed)
        known_jobs[ids[i]] = { jobs[ids[i]][10], jobs[ids[i]][7], jobs[ids[i]][21] }
      end
    end
  end
  if #detailed > 0 then
    for i, packed in ipairs(redis.call('HMGET', JOB_DETAILS, unpack(detailed))) do
      details[detailed[i]] = packed and cmsgpack.unpack(packed) or { false, false, false, false, false, false, false, false, {}, {} }
    end
  end
  job_ids = ids
end

-- Takes a value that is told, unless a later sighting told another.
local function take(record, at, stamps, stamp, value, us)
  if value ~= false and us >= (stamps[stamp] or 0) then
    record[at] = value
    stamps[stamp] = us
  end
end

local function read_queue(name)
  local key = CONNECTION .. name
  if queues[key] == nil then
    local packed = redis.call('HGET', QUEUES, key)
    queue_ids[#queue_ids + 1] = key
    queues[key] = packed and cmsgpack.unpack(packed) or { CONNECTION, FRAMEWORK, name, false, false, false, 0, now_ms, 0 }
  end
  return queues[key]
end

local function count_end(who, ms, job)
  local slot = math.floor(math.min(ms, now_ms) / 300000)
  local key = who .. '\0' .. slot
  local tally = ended[key]
  if not tally then
    tally = { who, slot, 0, 0, 0, 0 }
    ended[key] = tally
    ended_order[#ended_order + 1] = tally
  end
  tally[3] = tally[3] + (job[7] == COMPLETED and 1 or 0)
  tally[4] = tally[4] + (job[7] == 6 and 1 or 0)
  if job[11] then
    tally[5] = tally[5] + math.max(job[11] - job[10], 0)
    tally[6] = tally[6] + 1
  end
end

-- Tells one step of a job. What would lead back without a retry having been seen leads through one: a later attempt says that there was.
local function tell_step(id, job, state, us)
  local ms, before = math.floor(us / 1000), job[18]
  if before == state then
    return
  end
  if before and state ~= RETRYING and RANK[state] <= RANK[before] then
    notes[#notes + 1] = { 'j', id, job[4], RETRYING, before, ms }
    before = RETRYING
  end
  notes[#notes + 1] = { 'j', id, job[4], state, before, ms }
  job[18], job[25] = state, us
  if (state == COMPLETED or state == 6) and not TERMINAL[before] then
    return ms
  end
end

-- Tells the steps of a job that lead further than what was told, and happened later. Answers when it ended, in ms, if that is among them.
local function tell_steps(id, job, mark, since)
  local ended_ms
  if mark > job[17] then
    local steps, told_mark, told_us = job[19], job[17], job[25]
    for i = 1, #steps, STEP do
      if steps[i + 4] > told_mark and steps[i + 1] > told_us then
        ended_ms = tell_step(id, job, steps[i], steps[i + 1]) or ended_ms
      end
    end
  end
  if job[18] ~= job[7] and RANK[job[7]] > RANK[job[18] or UNKNOWN] then
    -- Clocks differ: it got further by what says to have happened earlier.
    ended_ms = tell_step(id, job, job[7], since) or ended_ms
  end
  if job[18] == job[7] then
    job[17], job[25] = math.max(job[17], mark), since
  end
  return ended_ms
end

local function see_details(id, seen, us)
  local detail, new = details[id], seen[19]
  local stamps = detail[10]
  for i = 1, 8 do
    if new[i] ~= false and us >= (stamps[i] or 0) then
      detail[i] = new[i]
      stamps[i] = us
    else
      stamps[i] = stamps[i] or 0
    end
  end
  -- Of the extensions the later value of each name counts: names, values and stamps in turn.
  local all, bytes = detail[9], 0
  for i = 1, #all, 3 do
    bytes = bytes + #all[i] + #all[i + 1]
  end
  for i = 1, #new[9], 2 do
    local name, value, at = new[9][i], new[9][i + 1], nil
    for k = 1, #all, 3 do
      at = at or (all[k] == name and k)
    end
    if not at and bytes + #name + #value <= EXTENSIONS_BYTES then
      bytes = bytes + #name + #value
      local n = #all
      all[n + 1], all[n + 2], all[n + 3] = name, value, us
    elseif at and us >= all[at + 2] and bytes + #value - #all[at + 1] <= EXTENSIONS_BYTES then
      bytes = bytes + #value - #all[at + 1]
      all[at + 1], all[at + 2] = value, us
    end
  end
end

-- Takes a sighting of a job. Answers whether it was known.
local function see_job(seen)
  local id, us = seen[2], seen[4]
  local ms = math.floor(us / 1000)
  local job = jobs[id]
  if not job then
    job = { CONNECTION, FRAMEWORK, seen[3], false, false, false, UNKNOWN, ms, false, ms, false, false, false, false, false, false, 0, false,
      {}, { 0, 0, 0, 0, 0, 0, 0, 0 }, 0, false, false, false, 0 }
    jobs[id] = job
  end
  local stamps = job[20]
  take(job, 4, stamps, 1, seen[9], us)
  take(job, 5, stamps, 2, seen[10], us)
  take(job, 6, stamps, 3, seen[11], us)
  take(job, 16, stamps, 4, seen[12], us)
  take(job, 23, stamps, 5, seen[14], us)
  take(job, 24, stamps, 6, seen[15], us)
  take(job, 13, stamps, 7, seen[16], us)
  take(job, 14, stamps, 8, seen[17], us)
  job[10] = math.min(job[10], seen[13] or ms, ms)
  if seen[8] > 0 then
    job[15] = math.max(job[15] or 0, seen[8])
  end
  if seen[19] then
    see_details(id, seen, us)
  end
  if seen[10] then
    read_queue(seen[10])
  end
  local known = false
  local state = seen[6]
  if state then
    local place, again = insert(job[22], job[19], state, us, seen[5], seen[7] and -1 or seen[8])
    known = place == 'known'
    if again then
      job[22], job[19] = shorten(job[22], job[19])
      local now, mark, previous, since, started = fold(job[22], job[19])
      job[7], job[8], job[9] = now, math.floor(since / 1000), previous
      -- What somebody said outright counts more than what follows from the order.
      job[11] = job[23] or started
      job[12] = TERMINAL[now] and (job[24] or job[8]) or false
      local ended_ms = tell_steps(id, job, mark, since)
      if ended_ms then
        if job[5] then
          count_end(CONNECTION .. 'q' .. job[5], ended_ms, job)
        end
        if job[6] then
          count_end(CONNECTION .. 'w' .. job[6], ended_ms, job)
        end
      end
    end
  else
    job[11] = job[23] or job[11]
    job[12] = TERMINAL[job[7]] and (job[24] or job[12]) or false
  end
  return known
end

-- Takes a sighting of a worker. Answers whether it was known: a later one was there.
local function see_worker(seen)
  local key, us = CONNECTION .. seen[3], seen[4]
  local worker = workers[key]
  if worker == nil then
    local packed = redis.call('HGET', WORKERS, key)
    worker = packed and cmsgpack.unpack(packed) or false
    if not worker then
      worker = { CONNECTION, FRAMEWORK, seen[3], seen[6], OFFLINE, 0, 0, false, false, false, false, false, {}, now_ms }
    end
    workers[key] = worker
    worker_ids[#worker_ids + 1] = key
  end
  if us <= worker[7] then
    return true
  end
  local before, state = worker[5], seen[5]
  worker[4], worker[5], worker[7] = seen[6], state, us
  for i = 7, 11 do
    if seen[i] ~= false then
      worker[i + 1] = seen[i]
    end
  end
  if seen[12] then
    worker[13] = seen[12]
  end
  if state ~= OFFLINE then
    worker[6] = now_ms
  else
    worker[9] = 0
  end
  if (before == OFFLINE) ~= (state == OFFLINE) then
    notes[#notes + 1] = { 's', seen[2], worker[4], state, before, math.floor(us / 1000) }
  end
  if state ~= OFFLINE then
    notes[#notes + 1] = { 'b', seen[2], worker[4], state, worker[9] or 0 }
  end
  return false
end

-- Takes a sighting of a queue. Answers whether it was known: a later one was there.
local function see_queue(seen)
  local queue, us = read_queue(seen[3]), seen[4]
  if us <= queue[7] then
    return true
  end
  local depth, consumers = queue[4], queue[5]
  queue[7] = us
  if seen[5] ~= false then
    queue[4] = seen[5]
  end
  if seen[6] ~= false then
    queue[5], queue[6] = seen[6], seen[7]
  end
  if queue[4] ~= depth or queue[5] ~= consumers then
    notes[#notes + 1] = { 'q', queue[3], queue[4], queue[5] }
  end
  return false
end
