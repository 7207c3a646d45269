-- pages: a piece of a hash, for lists that are read page by page.
--
-- gives  read_page, PAGE_BYTES
-- A page ends between two steps of HSCAN: a step that is repeated after fields went may reach other buckets, so what was left out of it by name
-- could be lost. A step that is longer than a page is given whole. Only a hash that one step reads whole is cut by name, in the order of bytes.
local FIELDS_AT_ONCE = 10
PAGE_BYTES = 256 * 1024

-- Reads on from `cursor` behind the name `after` ('': none), at most `limit` rows, or one step. `row` is given a field and its text, and
-- answers what is said of it, packed, or nil. Answers the next cursor, the name behind which to go on, and the rows; '0' and '': that was all.
function read_page(key, cursor, after, limit, row)
  local rows, size, at_once = {}, 0, digits(min(FIELDS_AT_ONCE, limit))
  repeat
    local scanned = call('HSCAN', key, cursor, 'COUNT', at_once)
    local is_whole = cursor == '0' and scanned[1] == '0'
    local fields, texts = {}, {}
    for n = 1, #scanned[2], 2 do
      local field = scanned[2][n]
      if precedes(after, field) and not find(field, '\0', 1, true) then
        fields[#fields + 1], texts[field] = field, scanned[2][n + 1]
      end
    end
    spent = spent + 2 + #fields / 4
    if is_whole then
      table.sort(fields, precedes)
    elseif #rows > 0 and #rows + #fields > limit then
      return cursor, '', rows
    end
    for n = 1, #fields do
      if is_whole and #rows >= limit then
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
