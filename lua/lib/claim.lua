-- claim: item `i` of a batch that proves what it holds: its `resource`, and the `proof`, as it stands in the reservation behind the stamp.
local resource = names[i]
if who_of[i] ~= '' then
  who, told, kind = who_of[i], told_of[i], '\255'
end
local proof = '\176' .. tokens[i] .. who -- 176: a text of 16 bytes
