#!lua flags=allow-oom
-- job_list: a piece of the jobs, the last made first.
--
-- uses          open
-- keys
--   1 meta          hash    position, credentials
--   2 jobs          hash    job -> packed job
--   3 jobs_created  zset    job -> when it was made, ms
-- args
--   1 caller      see open
--   2 made        when the job was made after which the piece begins, ms, or empty: at the beginning
--   3 job         which job that was, its 16 bytes, or empty
--   4 count       how many at most
-- returns       OK, now_us, position, how many jobs there are, then per job its id, when it was made and the packed job
-- cost          O(count + log jobs * log jobs made in that millisecond)
local CREATED = KEYS[3]
local made, job, count = ARGV[2], ARGV[3], tonumber(ARGV[4])
local first = 0
if made ~= '' then
  -- Among those of the same millisecond names go down too; the job itself may be gone.
  local low = redis.call('ZCOUNT', CREATED, '(' .. made, '+inf')
  local high = low + redis.call('ZCOUNT', CREATED, made, made)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if redis.call('ZREVRANGE', CREATED, middle, middle)[1] < job then
      high = middle
    else
      low = middle + 1
    end
  end
  first = low
end
local found = redis.call('ZREVRANGE', CREATED, first, first + count - 1, 'WITHSCORES')
local ids = {}
for i = 1, #found, 2 do
  ids[#ids + 1] = found[i]
end
local out = { 'OK', now_us, position, redis.call('ZCARD', CREATED) }
if #ids > 0 then
  for i, packed in ipairs(redis.call('HMGET', KEYS[2], unpack(ids))) do
    local n = #out
    out[n + 1], out[n + 2], out[n + 3] = ids[i], tonumber(found[2 * i]), packed
  end
end
return cmsgpack.pack(out)
