-- resource_read: what is registered under a name.
--
-- function  resource_read
-- flags     allow-oom
-- keys      as register
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, resource
-- returns       OK, now_us, position, then false, or name, capacity, array of blocks, array of ancestors
-- cost          O(1)
function resource_read(keys, args)
  local _, cost, floor_at, name = unpack_limit(args[2], 3, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  local text = call('HGET', DEFINITIONS, name)
  answer(text and definition_row(name, text) or FALSE)
  return plan.finish()
end
