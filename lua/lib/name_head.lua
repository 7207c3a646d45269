-- name_head: `head` becomes what goes before `resource` to pack it; packing it costs more.
head = #resource < 32 and string.char(160 + #resource) or string.sub(pack(resource), 1, -#resource - 1)
