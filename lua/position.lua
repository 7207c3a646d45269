#!lua flags=allow-oom
-- position: the tenant's latest position, for a caller whose credential still holds.
--
-- uses          open
-- keys
--   1 meta      hash    position, credentials
-- args
--   1 caller    see open
-- returns       OK, now_us, position
-- cost          O(1)
return cmsgpack.pack({ 'OK', now_us, position })
