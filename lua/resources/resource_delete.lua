-- resource_delete: forget a definition that nothing depends on.
--
-- function  resource_delete
-- flags     allow-oom
-- keys      as register
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, resource
-- returns       OK, now_us, position | NOT_FOUND, now_us, position | CONFLICT, now_us, position, why, name | AGAIN, STALE, RATE as reserve
-- cost          O(blocks + depth)
function resource_delete(keys, args)
  local _, cost, floor_at, name = unpack_limit(args[2], 3, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  drafts.reset()
  local why, which = drafts.delete(name)
  if why == 'NOT_FOUND' then
    return close_call(why)
  elseif why then
    return close_call('CONFLICT', why, which)
  end
  write_registry((drafts.total()))
  if waiting_count > 0 then
    definitions.reset()
    note_redefined(name)
  end
  return plan.finish()
end
