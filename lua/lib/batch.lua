-- batch: what every batch puts together of what it changes. The nils are room, see `groups`.
local records = { nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil } -- see `keep_many`
local deadlines = { nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil }
local answers = { nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil } -- packed, in order
local written, dated, answered = 0, 0, 0 -- how long they are
local earliest, later_ms = due, math.ceil(now_us / 1000)
local known, told -- see `known`
local kind = '\255' -- of what is given back or renewed, the resource type, packed; see `kind`
