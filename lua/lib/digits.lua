-- digits: whole numbers as text. Beyond 2^31 they need the format: tostring() would write 1.79e+15.
local function digits(number)
  return string.format('%d', number)
end
