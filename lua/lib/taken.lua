-- taken: item `i` of a batch wants `resource`, which is held: `present`.
local fence, held_until, _, token, holder, _, _, end_user = cmsgpack.unpack(present)
local _, requester, kind = unpack_limit(known, 2, 0)
answered = answered + 1
if holder == requester and not (END_USER and end_user ~= END_USER) then
  answers[answered] = pack('ALREADY_HAD', token, fence, held_until)
else
  refuse(HEAD .. pack(false, false, false, now_ms, false, 'RESERVE_FAILED', 'ALREADY_HELD', { 'resource', resource, holder, held_until },
    'RESERVE', kind, requester, LABEL, false, false, false, false, resource))
  answers[answered] = pack('ALREADY_HELD', holder, held_until)
end
