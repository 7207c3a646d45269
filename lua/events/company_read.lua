-- company_read: registered companies: one, or all.
--
-- function  company_read
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 companies    hash    slug -> packed company
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3 slug         or empty: all
--   4? cursor      of the piece before, absent to begin
-- returns       OK, now_us, position, then slug, packed company ...
--               | MORE, now_us, position, next cursor, then the same: ask on with it; a company may come twice | STALE, RATE as reserve
-- cost          O(companies), bounded
function company_read(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local slug = args[3]
  if slug == '' then
    return close_pages(keys[2], args[4], pack)
  end
  local packed = call('HGET', keys[2], slug)
  return close_call('OK') .. (packed and pack(slug, packed) or '')
end
