#!lua flags=allow-oom
-- counts_read: what ended within spans of time.
--
-- uses          open
-- keys
--   1 meta        hash    position, credentials
--   2 counts      hash    what ended when
-- args
--   1 caller      see open
--   2.. per field: its name
-- returns       OK, now_us, position, then per field its packed counts or false
-- cost          O(fields)
local out = { 'OK', now_us, position }
for _, packed in ipairs(redis.call('HMGET', KEYS[2], unpack(ARGV, 2))) do
  out[#out + 1] = packed
end
return cmsgpack.pack(out)
