#!lua flags=allow-oom
-- expire: the sweep's turn at one tenant: end what has lapsed, a bounded number, and tell it.
--
-- uses          open, change
-- keys
--   1 meta      hash    position, earliest deadline, credentials
--   2 held      hash    resource -> packed reservation
--   3 deadlines zset    resource -> deadline, ms since epoch
--   4 history   stream  what subscribers are told
--   5 due       zset    tenant -> its earliest deadline (the partition's)
-- args
--   1 caller    see open; its credential is false
--   2 floor     see open
-- returns       OK, now_us, position | AGAIN when there may be more | STALE when the tenant is gone
-- cost          O(lapsed * log held)
-- invariants    safe on every replica at once: whoever comes second finds nothing
return cmsgpack.pack({ 'OK', now_us, position })
