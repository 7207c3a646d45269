-- waiting_list: a page of the tickets that wait, in no order.
--
-- function  waiting_list
-- flags     allow-oom
-- keys      as ticket_read
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, cursor ("0" to begin), ticket behind which to go on (''), most rows
-- returns       OK, now_us, position, next cursor, ticket behind which to go on ("0" and '': that was all), then per ticket: ticket, as ticket_read
--               answers it, label or false
--               | AGAIN, STALE, RATE, KEYS as reserve
-- cost          O(rows * log waiting), bounded
local TICKET_BYTES = 32

local function row(id)
  local t = #id == TICKET_BYTES and tickets.read(id)
  if t and t.status == 'W' then
    return text_head(id) .. id .. tickets.row(t) .. t.label
  end
end

function waiting_list(keys, args)
  local _, cost, floor_at, cursor, after, limit = unpack_limit(args[2], 5, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  local next_cursor, next_after, rows = read_page(TICKETS, cursor, after, limit, row)
  answer(pack(next_cursor, next_after) .. concat(rows))
  return plan.finish()
end
