#!lua flags=allow-oom
-- company_delete: a company is registered no more; its events stay as they were told.
--
-- uses          open
-- keys
--   1 meta      hash    position, credentials
--   2 companies hash    slug -> packed company
--   3 company_ids hash  company's id -> its slug
-- args
--   1 caller    see open
--   2 slug
-- returns       OK, now_us, position | NOT_FOUND, now_us, position
-- cost          O(1)
local packed = redis.call('HGET', KEYS[2], ARGV[2])
if not packed then
  return cmsgpack.pack({ 'NOT_FOUND', now_us, position })
end
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('HDEL', KEYS[3], (cmsgpack.unpack(packed)))
return cmsgpack.pack({ 'OK', now_us, position })
