-- words: short names of the library functions, and the MessagePack bytes that the parts write themselves.
--
-- gives  call, try, pack, unpack_sequence, unpack_limit, put, take_apart, byte, find, format, gmatch, match, sub, ceil, floor, concat, min, max
-- gives  UINT64, FALSE, TRUE, TEXT_16, TEXT_16_BYTE, text_heads, text_head, digits, pack_list, precedes
-- A name costs a third of a field of a table each time it is used, and these are used everywhere. Bytes are written by `struct` or joined
-- as constants where `cmsgpack.pack` would first make a text of each value.
-- The collector begins a cycle once memory has grown by a fifth, and does half of what it does by default in a step. With the default step a cycle
-- ends within the fifty calls after which Redis forces one, so that its fixed part is paid more often than is needed; with a longer pause batches
-- leave 3 MB behind, which the processor's cache does not hold. Against pause 400 this takes a tenth off a batch, and nothing off a single call.
collectgarbage('setpause', 120)
collectgarbage('setstepmul', 100)

call, try = redis.call, redis.pcall
pack, unpack_sequence, unpack_limit = cmsgpack.pack, cmsgpack.unpack, cmsgpack.unpack_limit
put, take_apart = struct.pack, struct.unpack
byte, find, format, gmatch, match, sub = string.byte, string.find, string.format, string.gmatch, string.match, string.sub
ceil, floor, concat, min, max = math.ceil, math.floor, table.concat, math.min, math.max

UINT64 = 207 -- the byte before a whole number of eight bytes, big end first
FALSE, TRUE = '\194', '\195'
TEXT_16, TEXT_16_BYTE = '\176', 176 -- before a text of 16 bytes: a release token

local HEADS_MOST = 1024 -- bytes of a text whose head is remembered: names, requesters, notes

-- Length -> the bytes before a text of that length that make it a packed text.
text_heads = setmetatable({}, { __index = function(heads, length)
  local head = length < 32 and put('B', 160 + length) or length < 256 and put('BB', 217, length)
    or length < 65536 and put('>BI2', 218, length) or put('>BI4', 219, length)
  if length <= HEADS_MOST then
    heads[length] = head
  end
  return head
end })

function text_head(text)
  return text_heads[#text]
end

-- A whole number as text. Beyond 2^31 it needs the format: tostring() would write 1.79e+15.
function digits(number)
  return format('%d', number)
end

-- The values of a list, each packed by itself, one after the other: the list as an array, without the array's head.
function pack_list(list)
  local count = #list
  return sub(pack(list), count < 16 and 2 or count < 65536 and 4 or 6)
end

-- Whether a text comes before another one by its bytes, as Redis sorts members. Lua's own `<` asks the locale that the server was started with.
function precedes(text, other)
  local common = min(#text, #other)
  for at = 1, common do
    local here, there = byte(text, at), byte(other, at)
    if here ~= there then
      return here < there
    end
  end
  return #text < #other
end
