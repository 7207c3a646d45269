#!lua flags=allow-oom
-- connection_forget: a piece of what was seen through a connection that is gone goes, too.
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
--   2 connection  as text
--   3 connection  its 16 bytes
--   4 cursor      of HSCAN over the jobs, "0" to begin
--   5 count       how many jobs to look at, about
-- returns       OK, now_us, position, next cursor | KEPT, now_us, position when there is such a connection
-- cost          O(count), and O(workers + queues) at the beginning
local connection, most = ARGV[3], tonumber(ARGV[5])
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then
  return cmsgpack.pack({ 'KEPT', now_us, position })
end
if ARGV[4] == '0' then
  redis.call('HDEL', KEYS[4], ARGV[2])
  for kind, hash in pairs({ w = KEYS[10], q = KEYS[13] }) do
    for _, key in ipairs(redis.call('HKEYS', hash)) do
      if string.sub(key, 1, 16) == connection then
        forget_counts(connection .. kind .. string.sub(key, 17), kind == 'w' and WORKER_RINGS or QUEUE_RINGS)
        redis.call('HDEL', hash, key)
        for _, index in ipairs({ BEATS, ABSENT, QUEUES_SEEN }) do
          redis.call('ZREM', index, key)
        end
      end
    end
  end
end
local scanned = redis.call('HSCAN', KEYS[5], ARGV[4], 'COUNT', most)
local gone = {}
for i = 1, #scanned[2], 2 do
  if cmsgpack.unpack(scanned[2][i + 1])[1] == connection then
    gone[#gone + 1] = scanned[2][i]
  end
end
forget_jobs(gone)
return cmsgpack.pack({ 'OK', now_us, position, scanned[1] })
