-- budget: how much of Redis' one thread a call may take, counted in steps of some 10,000 instructions, 2 to 3 us.
--
-- gives  spent, budget
-- A step is a command, two elements of a command with many, or so many bytes of what is kept (each becomes part of three or four texts,
-- and Redis' Lua hashes each text that it makes). A turn of a loop over what is in memory already is a small part of one. What a call has
-- staged is counted by `stage`, everything else is added to `spent` where it is done; so it comes to what callgrind counts (`bench/core`).
-- Slots one by one, refusals and long texts cost up to half as much again as they are charged, so that a thousand items of any kind pass,
-- and as many as a body holds. A write that would pass the most is refused before its first write (TOO_MUCH_WORK). What may go on in pieces
-- ends a piece at the other bound: one that ends in the middle of the dearest single thing still stays below 20 ms.
budget = { steps = 6000, piece_steps = 1500, step_bytes = 190, turns = 15 }
