-- values: numbers and texts of others, brought within bounds where they are read.
--
-- gives  whole, time_us, time_ms, short_text
local GREATEST = 2 ^ 53 -- beyond it whole numbers are not exact
local AHEAD_US = 60 * 1000000 -- what is further ahead of Redis' clock counts as now: some clock was wrong

-- A whole number, within what is exact; false where there is none.
function whole(number)
  if not number or number ~= number then
    return false
  end
  return floor(max(-GREATEST, min(number, GREATEST)))
end

-- A time of somebody's clock, in us.
function time_us(us)
  us = max(whole(us) or now_us, 0)
  return us > now_us + AHEAD_US and now_us or us
end

-- The same in ms; false where there is none.
function time_ms(ms)
  return ms and floor(time_us((whole(ms) or 0) * 1000) / 1000)
end

-- The beginning of a text, at most so many bytes, without a part of a character at its end.
function short_text(text, most)
  if #text <= most then
    return text
  end
  local last = most
  while last > 0 and byte(text, last + 1) >= 0x80 and byte(text, last + 1) < 0xC0 do
    last = last - 1
  end
  return sub(text, 1, last)
end
