-- company_delete: a company is registered no more; its events stay as they were published.
--
-- function  company_delete
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 companies    hash    slug -> packed company
--   3 company_ids  hash    company's id -> its slug
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3 slug
-- returns       OK, now_us, position | NOT_FOUND, now_us, position | STALE, RATE as reserve
-- cost          O(1)
function company_delete(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local packed = call('HGET', keys[2], args[3])
  if not packed then
    return close_call('NOT_FOUND')
  end
  call('HDEL', keys[2], args[3])
  call('HDEL', keys[3], (unpack_sequence(packed)))
  return close_call('OK')
end
