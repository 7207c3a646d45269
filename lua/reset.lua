#!lua flags=allow-oom
-- reset: end every reservation of the tenant at once.
--
-- uses          open, change
-- keys
--   1 meta      hash    position, earliest deadline, credentials
--   2 held      hash    resource -> packed reservation
--   3 deadlines zset    resource -> deadline, ms since epoch
--   4 history   stream  what subscribers are told
--   5 due       zset    tenant -> its earliest deadline (the partition's)
-- args
--   1 caller    see open
--   2 floor     see open
-- returns       OK, now_us, position, number of reservations ended
-- cost          O(1); the memory is given back in Redis' background thread
-- invariants    one RESET event, also when nothing was held: whoever asked can see it done
local held = redis.call('HLEN', HELD)
redis.call('UNLINK', HELD, DEADLINES)
due, moved_due = nil, true
tell(next_position(), 'RESET', false, false, false, false, false, false, LABEL, false, false, false, false)
commit()
return cmsgpack.pack({ 'OK', now_us, position, held })
