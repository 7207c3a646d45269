-- worker_list: a piece of the workers, in no order; one may come twice.
--
-- function  worker_list
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 workers      hash    connection, worker -> packed worker
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3 cursor       of the piece before, "0" to begin
--   4 count        how many to look at, about
-- returns       OK, now_us, position, next cursor, "0" at the end, then per worker its packed form | STALE, RATE as reserve
-- cost          O(count), bounded
function worker_list(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local cursor, rows = scan_rows(keys[2], args[3], tonumber(args[4]), monitor.row)
  return close_call('OK', cursor) .. rows
end
