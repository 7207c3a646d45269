#!lua flags=allow-oom
-- queue_upkeep: workers that have fallen silent are told to be offline, and what was kept for long enough is let go of.
--
-- uses          open, digits, retention
-- keys
--   1 meta          hash    position, credentials
--   2 connections   hash    connection -> packed connection
--   3 watches       hash    the numbers of watchers
--   4 cursors       hash    connection -> packed names and cursors
--   5 jobs          hash    job -> packed job
--   6 job_details   hash    job -> packed details
--   7 jobs_created  zset    job -> when it was made, ms
--   8 jobs_open     zset    job -> when it was last seen, ms
--   9 jobs_finished zset    job -> when it was seen to have ended, ms
--   10 workers      hash    connection, worker -> packed worker
--   11 beats        zset    connection, worker -> when it was last heard, ms
--   12 absent       zset    connection, worker -> since when it is offline, ms
--   13 queues       hash    connection, queue -> packed queue
--   14 queues_seen  zset    connection, queue -> when it was last seen, ms
--   15 counts       hash    what ended when
--   16 due          zset    `tenant/queues` -> when its queues are to be looked after (the partition's)
-- args
--   1 caller      see open
--   2 jobs        the most that are kept
--   3 most        how many of each kind are taken on at once
-- returns       OK, now_us, position, how many there were
-- cost          O(most * log jobs)
-- invariants    each worker is told to be offline once, whichever replica comes first
local OFFLINE = 3
local most = tonumber(ARGV[3])
local silent = redis.call('ZRANGEBYSCORE', BEATS, '-inf', digits(now_ms - SILENT_MS), 'LIMIT', 0, most)
local notes, order = {}, {} -- connection -> what its stream is told
for _, key in ipairs(silent) do
  redis.call('ZREM', BEATS, key)
  local packed = redis.call('HGET', KEYS[10], key)
  if packed then
    local worker = cmsgpack.unpack(packed)
    local connection = worker[1]
    if not notes[connection] then
      notes[connection] = {}
      order[#order + 1] = connection
    end
    local told_of = notes[connection]
    -- The replica makes the worker's id from its external one.
    told_of[#told_of + 1] = { 'o', worker[3], worker[4], worker[5], worker[6] + SILENT_MS }
    worker[5], worker[9] = OFFLINE, 0
    redis.call('HSET', KEYS[10], key, cmsgpack.pack(worker))
    redis.call('ZADD', ABSENT, digits(now_ms), key)
  end
end
local gone = forget_old_jobs(tonumber(ARGV[2]), most) + forget_absent(most)
local at = next_look()
if at then
  redis.call('ZADD', DUE, digits(at), DUE_MEMBER)
else
  redis.call('ZREM', DUE, DUE_MEMBER)
end
for _, connection in ipairs(order) do
  redis.call(PUBLISH, CHANNEL, cmsgpack.pack('Q', TENANT, connection, notes[connection]))
end
return cmsgpack.pack({ 'OK', now_us, position, #silent + gone })
