-- resource_list: a page of what is registered, in no order.
--
-- function  resource_list
-- flags     allow-oom
-- keys      as register
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, cursor ("0" to begin), name behind which to go on (''), most rows
-- returns       OK, now_us, position, next cursor, name behind which to go on ("0" and '': that was all), then per resource: name, capacity, array of
--               blocks, array of ancestors
-- cost          O(rows), bounded
function resource_list(keys, args)
  local _, cost, floor_at, cursor, after, limit = unpack_limit(args[2], 5, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  local next_cursor, next_after, rows = read_page(DEFINITIONS, cursor, after, limit, definition_row)
  answer(pack(next_cursor, next_after) .. concat(rows))
  return plan.finish()
end
