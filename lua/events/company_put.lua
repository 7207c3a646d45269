-- company_put: register a company under a slug, or change it.
--
-- function  company_put
-- flags
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 companies    hash    slug -> packed company
--   3 company_ids  hash    company's id -> its slug
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3 slug
--   4 id           or empty: keep the present one, or take the next argument
--   5 new id       for a new company that names none
--   6 name
--   7 most         companies that the tenant may have, 0: no limit
-- returns       OK, now_us, position, packed company | TAKEN, now_us, position, the slug that has the id
--               | LIMIT, now_us, position, limit type, limit, companies, false | STALE, RATE as reserve
-- cost          O(1)
-- invariants    an id belongs to one slug
function company_put(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local _, _, slug, id, new_id, name, most = unpack(args)
  local companies, ids, limit = keys[2], keys[3], tonumber(most)
  local present = call('HGET', companies, slug)
  local old_id, _, created_ms
  if present then
    old_id, _, created_ms = unpack_sequence(present)
  end
  if id == '' then
    id = old_id or new_id
  end
  local owner = call('HGET', ids, id)
  if owner and owner ~= slug then
    return close_call('TAKEN', owner)
  end
  local count = call('HLEN', companies)
  if not present and limit > 0 and count >= limit then
    return over_limit('Companies', limit, count, false)
  end
  local packed = pack(id, name, created_ms or now_ms)
  if old_id and old_id ~= id then
    call('HDEL', ids, old_id)
  end
  call('HSET', ids, id, slug)
  call('HSET', companies, slug, packed)
  return close_call('OK', packed)
end
