#!lua
-- company_put: register a company under a slug, or change it.
--
-- uses          open, limit
-- keys
--   1 meta      hash    position, credentials
--   2 companies hash    slug -> packed company
--   3 company_ids hash  company's id -> its slug
-- args
--   1 caller    see open
--   2 slug
--   3 id        or empty: keep the present one, or take the next argument
--   4 id for a new company that names none
--   5 name
--   6 most companies that the tenant may have, 0: no limit
-- returns       OK, now_us, position, packed company | TAKEN, now_us, position, the slug that has the id
--               | LIMIT, now_us, position, limit type, limit, companies, false
-- cost          O(1)
-- invariants    an id belongs to one slug
local COMPANIES, IDS = KEYS[2], KEYS[3]
local slug, id, most = ARGV[2], ARGV[3], tonumber(ARGV[6])
local present = redis.call('HGET', COMPANIES, slug)
local old_id, _, created_ms
if present then
  old_id, _, created_ms = cmsgpack.unpack(present)
end
if id == '' then
  id = old_id or ARGV[4]
end
local owner = redis.call('HGET', IDS, id)
if owner and owner ~= slug then
  return cmsgpack.pack({ 'TAKEN', now_us, position, owner })
end
local companies = redis.call('HLEN', COMPANIES)
if not present and most > 0 and companies >= most then
  return over_limit('Companies', most, companies, false)
end
local packed = cmsgpack.pack(id, ARGV[5], created_ms or now_ms)
if old_id and old_id ~= id then
  redis.call('HDEL', IDS, old_id)
end
redis.call('HSET', IDS, id, slug)
redis.call('HSET', COMPANIES, slug, packed)
return cmsgpack.pack({ 'OK', now_us, position, packed })
