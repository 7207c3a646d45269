#!lua flags=allow-oom
-- resource_read: what is registered under a name.
--
-- uses          open
-- keys
--   1 meta         hash    position, credentials
--   2 definitions  hash    resource -> packed definition
-- args
--   1 caller       see open
--   2 resource
-- returns       OK, now_us, position, packed definition or false
-- cost          O(1)
return cmsgpack.pack({ 'OK', now_us, position, redis.call('HGET', KEYS[2], ARGV[2]) })
