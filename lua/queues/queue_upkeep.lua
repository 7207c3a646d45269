-- queue_upkeep: workers that have fallen silent go offline, and what was kept for long enough is let go of.
--
-- function  queue_upkeep
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
--   3 jobs         the most that are kept
--   4 most         how many of each kind are taken on at once
-- returns       OK, now_us, position, how many there were; where some are left, it is due again at once | STALE, RATE as reserve
-- cost          O(most * log jobs), bounded
-- invariants    each worker goes offline once, whichever replica comes first
function queue_upkeep(keys, args)
  local refusal = monitor.begin(keys, args)
  if refusal then
    return refusal
  end
  local most = tonumber(args[4])
  local silent, connections, changes = workers.end_silent(most)
  local gone = retention.evict_jobs(tonumber(args[3]), most) + retention.forget_absent(most)
  local at = retention.next_look()
  if at then
    call('ZADD', key.due, digits(at), monitor.due_member)
  else
    call('ZREM', key.due, monitor.due_member)
  end
  for n = 1, #connections do
    monitor.publish(connections[n], changes[connections[n]])
  end
  return close_call('OK', silent + gone)
end
