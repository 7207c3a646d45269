#!lua flags=allow-oom
-- job_read: one job with its details.
--
-- uses          open
-- keys
--   1 meta         hash    position, credentials
--   2 jobs         hash    job -> packed job
--   3 job_details  hash    job -> packed details
-- args
--   1 caller      see open
--   2 job         its 16 bytes
-- returns       OK, now_us, position, packed job or false, packed details or false
-- cost          O(1)
return cmsgpack.pack({ 'OK', now_us, position, redis.call('HGET', KEYS[2], ARGV[2]), redis.call('HGET', KEYS[3], ARGV[2]) })
