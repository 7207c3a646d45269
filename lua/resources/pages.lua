-- pages: a piece of a hash, for lists that are read page by page.
--
-- gives  read_page, PAGE_BYTES
-- A page ends where it has as many rows as were asked for, or where it has become long. HSCAN answers a few fields at a time; where a page ends
-- among those, the next begins with the same ones and leaves out the names that were given, in the order of bytes.
local FIELDS_AT_ONCE = '10'
PAGE_BYTES = 256 * 1024

-- Reads on from `cursor` behind the name `after` ('': none), at most `limit` rows. `row` is given a field and its text, and answers what is
-- said of it, packed, or nil. Answers the next cursor, the name behind which to go on, and the rows; '0' and '': that was all.
function read_page(key, cursor, after, limit, row)
  local rows, size = {}, 0
  repeat
    local scanned = call('HSCAN', key, cursor, 'COUNT', FIELDS_AT_ONCE)
    local fields, texts = {}, {}
    for n = 1, #scanned[2], 2 do
      local field = scanned[2][n]
      if precedes(after, field) and not find(field, '\0', 1, true) then
        fields[#fields + 1], texts[field] = field, scanned[2][n + 1]
      end
    end
    table.sort(fields, precedes)
    spent = spent + 2 + #fields / 4
    for n = 1, #fields do
      if #rows >= limit then
        return cursor, fields[n - 1] or after, rows
      end
      local text = row(fields[n], texts[fields[n]])
      if text then
        rows[#rows + 1], size = text, size + #text
      end
    end
    cursor, after = scanned[1], ''
  until cursor == '0' or #rows >= limit or size > PAGE_BYTES or is_piece_done()
  return cursor, '', rows
end
