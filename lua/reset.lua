#!lua flags=allow-oom
-- reset: end every reservation of the tenant at once. What is registered stays.
--
-- uses          open, change, view, pools, plan, write, lapse
-- keys
--   1 meta         hash    position, earliest deadline, credentials
--   2 held         hash    resource -> packed reservation
--   3 deadlines    zset    resource -> deadline, ms since epoch
--   4 history      stream  what subscribers are told
--   5 due          zset    tenant -> its earliest deadline (the partition's)
--   6 definitions  hash    resource -> packed definition
--   7 pools        hash    pool -> packed counts; who holds which slot
--   8 slots        zset    free ranges, deadlines and fences of pools
--   9 uses         zset    who holds a blocker
--   10 tree         zset    what is held below an ancestor
-- args
--   1 caller       see open
-- returns       OK, now_us, position, number of physical resources freed
-- cost          O(1); the memory is given back in Redis' background thread
-- invariants    one RESET event, also when nothing was held: whoever asked can see it done
local count = redis.call('HLEN', HELD)
redis.call('UNLINK', HELD, DEADLINES, KEYS[7], KEYS[8], KEYS[9], KEYS[10])
due, moved_due, held_count = false, true, 0
tell(next_position(), 'RESET', false, false, false, false, false, false, LABEL, false, false, false, false)
commit()
return cmsgpack.pack({ 'OK', now_us, position, count })
