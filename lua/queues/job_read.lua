-- job_read: one job with its details.
--
-- function  job_read
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 jobs         hash    job -> packed job
--   3 job_details  hash    job -> packed details
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3 job          its 16 bytes
-- returns       OK, now_us, position, packed job with its whole error text, or false, packed details or false | STALE, RATE as reserve
-- cost          O(1)
function job_read(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local packed, more = call('HGET', keys[2], args[3]), call('HGET', keys[3], args[3])
  local job = packed and unpack_sequence(packed)
  if job and more and job[jobs.HAS_WHOLE_ERROR] then
    job[jobs.ERROR] = unpack_sequence(more)[details.ERROR]
    packed = pack(job)
  end
  return close_call('OK', packed, more)
end
