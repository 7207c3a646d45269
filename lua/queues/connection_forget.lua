-- connection_forget: a piece of what was observed through a connection that is gone goes, too.
--
-- function  connection_forget
-- flags     allow-oom
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
--   5 cursor       of the piece before, "0" to begin
--   6 count        how many rows to look at, about
-- returns       OK, now_us, position, next cursor, "0" at the end: which hash is gone through (1 workers, 2 queues, 3 counts, 4 jobs), and HSCAN's
--               | KEPT, now_us, position when there is such a connection | STALE, RATE as reserve
-- cost          O(count), bounded
local FIELDS_AT_ONCE = '20'

local function forget_jobs(found, connection)
  local ids, head = {}, TEXT_16 .. connection -- what a job begins with, behind the three bytes of its array's head
  for n = 1, #found, 2 do
    if find(found[n + 1], head, 1, true) == 4 then
      ids[#ids + 1] = found[n]
    end
  end
  retention.forget_jobs(ids)
end

-- Of the other hashes each field begins with its connection.
local function forget_fields(hash, indexes, found, connection)
  local fields = {}
  for n = 1, #found, 2 do
    if sub(found[n], 1, 16) == connection then
      fields[#fields + 1] = found[n]
    end
  end
  monitor.run('HDEL', hash, fields)
  for n = 1, #indexes do
    monitor.run('ZREM', indexes[n], fields)
  end
  spent = spent + #fields
end

function connection_forget(keys, args)
  local refusal = monitor.begin(keys, args)
  if refusal then
    return refusal
  end
  local id, connection, given, count = args[3], args[4], args[5], tonumber(args[6])
  if call('HEXISTS', key.connections, id) == 1 then
    return close_call('KEPT')
  end
  local phase, cursor = match(given, '^(%d):(%d+)$')
  if not phase then
    call('HDEL', key.cursors, id)
  end
  local at, looked = tonumber(phase or 1), 0
  cursor = cursor or '0'
  local hashes = { key.workers, key.queues, key.counts, key.jobs }
  local indexes = { { key.beats, key.absent }, { key.queues_seen }, {} }
  repeat
    local scanned = call('HSCAN', hashes[at], cursor, 'COUNT', FIELDS_AT_ONCE)
    local found = scanned[2]
    if indexes[at] then
      forget_fields(hashes[at], indexes[at], found, connection)
    else
      forget_jobs(found, connection)
    end
    cursor, looked, spent = scanned[1], looked + #found / 2, spent + 1 + #found / 2
    if cursor == '0' then
      at = at + 1
    end
  until at > #hashes or looked >= count or spent > budget.piece_steps
  return close_call('OK', at > #hashes and '0' or at .. ':' .. cursor)
end
