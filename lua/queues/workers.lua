-- workers: what was observed of workers, joined with what is known of them.
--
-- gives  workers
-- A worker is an array; README says of each place what it holds. Whether one lives is judged by when something of it was received, on Redis'
-- clock; its own clock only orders what it said itself. Nothing is written before `write`.
local HOSTNAME, STATE, RECEIVED_MS, SAID_US, ACTIVE_JOBS, QUEUES, METADATA, SILENCE_MS = 4, 5, 6, 7, 9, 12, 13, 15
local FIRST_NUMBER, LAST_NUMBER, SAID_QUEUES, SAID_METADATA, IS_FOUND = 7, 10, 11, 12, 13 -- places of an observation; one less than a worker's
local ONLINE, OFFLINE = 0, 3
local WORKERS_MOST = 5000
local SILENCE, SILENCE_LEAST, SILENCE_MOST = 6000, 1000, 24 * 3600000 -- ms until a worker is offline
local JOB_SILENCE = 60000 -- the same of a worker without heartbeats, which is known by its jobs, and by what the watcher found
local BEATS_MISSED = 3
local RECENT_US = 60 * 1000000 -- what is older shows nothing of whether a worker lives
local QUEUES_BYTES, METADATA_BYTES, METADATA_MOST = 4096, 4096, 64
local source, rows, stored, names
workers = { OFFLINE = OFFLINE, STATE = STATE, RECEIVED_MS = RECEIVED_MS, SAID_US = SAID_US, ACTIVE_JOBS = ACTIVE_JOBS, HOSTNAME = HOSTNAME }

function workers.begin(from)
  source, rows, stored, names = from, {}, {}, {}
end

-- What is known of a worker; false: nothing.
local function look(row)
  if rows[row] == nil then
    local packed = call('HGET', key.workers, row)
    rows[row], stored[row] = packed and unpack_sequence(packed), packed and true or false
    names[#names + 1] = row
    spent = spent + 6 + (packed and #packed or 0) / budget.step_bytes
  end
  return rows[row]
end

local function new_worker(row, external_id, hostname)
  local worker = { source.connection, source.framework, external_id, hostname, OFFLINE, 0, 0, false, false, false, false, false, {}, now_ms,
    JOB_SILENCE }
  rows[row] = worker
  return worker
end

-- How long a worker may be silent: three of its own heartbeats, where it says how often they come.
local function silence_of(metadata)
  for n = 1, #metadata, 2 do
    if metadata[n] == 'heartbeatFreq' then
      local interval_s = tonumber(metadata[n + 1])
      if interval_s and interval_s > 0 then
        return max(SILENCE_LEAST, min(floor(interval_s * 1000 * BEATS_MISSED), SILENCE_MOST))
      end
    end
  end
  return SILENCE
end

-- The first texts of a list, as many as fit, `width` of which belong together.
local function fitting(list, most_bytes, most, width)
  local kept, bytes = {}, 0
  for n = 1, min(#list, most), width do
    for k = n, n + width - 1 do
      bytes = bytes + #list[k]
    end
    if bytes > most_bytes then
      break
    end
    for k = n, n + width - 1 do
      kept[k] = list[k]
    end
  end
  return kept
end

-- Numbers, queues and metadata, as far as an observation has them.
local function take_details(worker, seen)
  for place = FIRST_NUMBER, LAST_NUMBER do
    if seen[place] ~= false then
      worker[place + 1] = whole(seen[place])
    end
  end
  if seen[SAID_QUEUES] then
    worker[QUEUES] = fitting(seen[SAID_QUEUES], QUEUES_BYTES, #seen[SAID_QUEUES], 1)
  end
  if seen[SAID_METADATA] then
    worker[METADATA] = fitting(seen[SAID_METADATA], METADATA_BYTES, 2 * METADATA_MOST, 2)
  end
end

-- Whether a worker's heartbeats say if it lives. One that fell silent may come back without any: then what happens later than its end counts.
local function has_heartbeats(worker, us)
  if worker[SAID_US] == 0 then
    return false
  end
  local ended_us = max(worker[SAID_US], (worker[RECEIVED_MS] + worker[SILENCE_MS]) * 1000)
  if worker[STATE] ~= OFFLINE or us <= ended_us then
    return true
  end
  worker[SAID_US], worker[SILENCE_MS] = 0, JOB_SILENCE
  return false
end

local function note_state(id, worker, before, us)
  local state = worker[STATE]
  if (before == OFFLINE) ~= (state == OFFLINE) then
    monitor.note({ 's', id, worker[HOSTNAME], state, before, floor(us / 1000) })
  end
  if state ~= OFFLINE then
    monitor.note({ 'b', id, worker[HOSTNAME], state, worker[ACTIVE_JOBS] or 0 })
  end
end

-- What the watcher found: a worker answered it, or the broker has no binding for it any more.
local function observe_found(seen)
  local id, external_id, us, state, hostname = seen[2], seen[3], time_us(seen[4]), seen[5], seen[6]
  local row = source.connection .. external_id
  local worker = look(row)
  if not worker then
    if state == OFFLINE then
      return true
    end
    worker = new_worker(row, external_id, hostname)
  end
  take_details(worker, seen)
  if has_heartbeats(worker, us) then
    return true
  end
  local before = worker[STATE]
  worker[STATE] = state
  if state ~= OFFLINE then
    worker[RECEIVED_MS] = now_ms
  else
    worker[ACTIVE_JOBS] = 0
  end
  note_state(id, worker, before, us)
  return before == OFFLINE and state == OFFLINE
end

-- Joins an observation of a worker. Answers whether it was known: a later one was there.
function workers.observe(seen)
  if seen[IS_FOUND] then
    return observe_found(seen)
  end
  local id, external_id, us, state, hostname = seen[2], seen[3], time_us(seen[4]), seen[5], seen[6]
  local row = source.connection .. external_id
  local worker = look(row) or new_worker(row, external_id, hostname)
  local before = worker[STATE]
  if us <= worker[SAID_US] then
    -- Said earlier and received later: it lives, unless what it said later was that it ends.
    if us < worker[SAID_US] and state ~= OFFLINE and before ~= OFFLINE then
      worker[RECEIVED_MS] = now_ms
    end
    return true
  end
  worker[HOSTNAME], worker[STATE], worker[SAID_US] = hostname, state, us
  take_details(worker, seen)
  worker[SILENCE_MS] = silence_of(worker[METADATA])
  if state ~= OFFLINE then
    worker[RECEIVED_MS] = now_ms
  else
    worker[ACTIVE_JOBS] = 0
  end
  note_state(id, worker, before, us)
  return false
end

-- An event of a job came from this worker: where it has no heartbeats, that shows that it lives. One that had some, and ended, lives again where a
-- job `begins`: jobs that it had before may end after it.
function workers.observe_job(external_id, us, begins)
  if us <= now_us - RECENT_US then
    return
  end
  local row = source.connection .. external_id
  local worker = look(row) or new_worker(row, external_id, external_id)
  if worker[STATE] == OFFLINE and worker[SAID_US] > 0 and not begins then
    return
  end
  if not has_heartbeats(worker, us) then
    if worker[STATE] == OFFLINE then
      monitor.note({ 'w', external_id, worker[HOSTNAME], ONLINE, OFFLINE, floor(us / 1000) })
    end
    worker[STATE], worker[RECEIVED_MS] = ONLINE, now_ms
  end
end

-- Writes what was observed; beyond the most, new workers are left out.
function workers.write()
  local writes, beats, absent, no_longer_absent, silent = {}, {}, {}, {}, {}
  local room = #names > 0 and WORKERS_MOST - call('HLEN', key.workers) or 0
  for n = 1, #names do
    local row = names[n]
    local worker = rows[row]
    if worker and (stored[row] or room > 0) then
      room = room - (stored[row] and 0 or 1)
      writes[#writes + 1], writes[#writes + 2] = row, pack(worker)
      if worker[STATE] == OFFLINE then
        silent[#silent + 1] = row
        absent[#absent + 1], absent[#absent + 2] = digits(now_ms), row
        monitor.look_by(now_ms + retention.JOB_KEPT_MS)
      else
        local until_ms = worker[RECEIVED_MS] + worker[SILENCE_MS]
        no_longer_absent[#no_longer_absent + 1] = row
        beats[#beats + 1], beats[#beats + 2] = digits(until_ms), row
        monitor.look_by(until_ms)
      end
    end
  end
  monitor.run('HSET', key.workers, writes, 2)
  monitor.run('ZREM', key.beats, silent)
  monitor.run('ZADD', key.beats, beats, 2)
  monitor.run('ZREM', key.absent, no_longer_absent)
  if #absent > 0 then
    call('ZADD', key.absent, 'NX', unpack(absent))
  end
end

-- Sets workers offline whose time is over, about `most`. Answers how many.
function workers.end_silent(most)
  local found = call('ZRANGEBYSCORE', key.beats, '-inf', digits(now_ms), 'WITHSCORES', 'LIMIT', '0', digits(most))
  local writes, absent, silent, changes, connections = {}, {}, {}, {}, {}
  for n = 1, #found, 2 do
    if spent > budget.piece_steps then
      break
    end
    local row = found[n]
    local packed = call('HGET', key.workers, row)
    silent[#silent + 1] = row
    if packed then
      local worker = unpack_sequence(packed)
      local connection = worker[1]
      if not changes[connection] then
        changes[connection], connections[#connections + 1] = {}, connection
      end
      local of_it = changes[connection]
      -- The replica makes the worker's id of its external one.
      of_it[#of_it + 1] = { 'o', worker[3], worker[HOSTNAME], worker[STATE], tonumber(found[n + 1]) }
      worker[STATE], worker[ACTIVE_JOBS] = OFFLINE, 0
      worker[SAID_US] = min(worker[SAID_US], worker[RECEIVED_MS] * 1000) -- where its clock was ahead, what it says next counts
      writes[#writes + 1], writes[#writes + 2] = row, pack(worker)
      absent[#absent + 1], absent[#absent + 2] = digits(now_ms), row
      spent = spent + #packed / budget.step_bytes
    end
    spent = spent + 4
  end
  monitor.run('ZREM', key.beats, silent)
  monitor.run('HSET', key.workers, writes, 2)
  monitor.run('ZADD', key.absent, absent, 2)
  return #silent, connections, changes
end
