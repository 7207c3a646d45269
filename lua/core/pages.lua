-- pages: lists that are answered piece by piece.
--
-- gives  scan_rows, close_pages
local FIELDS_AT_ONCE = '10'
local PAGE_BYTES = 256 * 1024

-- Reads on from `cursor` of HSCAN, about `limit` rows: a piece ends there, or where it has become long. `row` is given a field and its text, and
-- answers what is said of it, packed, or nil. Answers the next cursor, '0' at the end, and the rows as one text. A row may come twice.
function scan_rows(key, cursor, limit, row)
  local rows, size, looked = {}, 0, 0
  repeat
    local scanned = call('HSCAN', key, cursor, 'COUNT', FIELDS_AT_ONCE)
    local found = scanned[2]
    for n = 1, #found, 2 do
      local text = row(found[n], found[n + 1])
      if text then
        rows[#rows + 1], size = text, size + #text
      end
    end
    cursor, looked, spent = scanned[1], looked + #found / 2, spent + 1 + #found / 2
  until cursor == '0' or looked >= limit or size > PAGE_BYTES or spent > budget.piece_steps
  return cursor, concat(rows)
end

-- Ends a call with a hash's rows: OK and what is left of them, or MORE, the next cursor and a piece of them. `cursor`: nil to begin.
function close_pages(key, cursor, row)
  local next_cursor, rows = scan_rows(key, cursor or '0', math.huge, row)
  return (next_cursor == '0' and close_call('OK') or close_call('MORE', next_cursor)) .. rows
end
