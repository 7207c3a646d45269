#!lua flags=allow-oom
-- usage: how much of what its tier limits a tenant uses.
--
-- uses          open
-- keys
--   1 meta      hash    position, version, credentials
--   2 held      hash    resource -> packed reservation
--   3 keys      hash    key id -> packed key
-- args
--   1 caller    see open
--   2 floor     see open
-- returns       OK, now_us, position, reservations held, keys
-- cost          O(1)
return cmsgpack.pack({ 'OK', now_us, position, redis.call('HLEN', KEYS[2]), redis.call('HLEN', KEYS[3]) })
