-- fold: where a job is, from all that was observed of it, in whatever order it was observed.
--
-- gives  fold
-- A job keeps its transitions, sorted by the time at which they happened; its state is what comes of going through them. So late
-- observations end where punctual ones would. Each transition that counts has a mark: the attempt that it belongs to, times 16, and how far
-- into the attempt it leads. Marks only grow, and so does what is published of a job.
--
-- A transition is five numbers in a row: state, microseconds, tiebreak, attempt (0: not said, -1: the job begins again), mark (0: it
-- changes nothing). Beyond TRANSITIONS_MOST of them the oldest are put together into the base: state, mark, previous state, since when in us,
-- started ms, up to when in us it goes, whether a retry is owed; or false. What comes later from before that changes nothing.
local UNKNOWN, ACTIVE, RETRYING, CANCELLED, FAILED, COMPLETED = 0, 3, 4, 5, 6, 7
local RANK = { [0] = 0, 1, 2, 3, 0, 4, 5, 6 }
local WIDTH = 5
local TRANSITIONS_MOST, PUT_TOGETHER = 40, 16
local FIRST_MARK = 16
fold = { RANK = RANK, TERMINAL = { [CANCELLED] = true, [FAILED] = true, [COMPLETED] = true }, WIDTH = WIDTH }

-- The mark that a job of this state and mark gets by going to `next`; nil: it stays where it is.
function fold.advance(state, mark, next, attempt)
  local round = floor(mark / 16)
  if next == RETRYING then
    -- A retry opens the next round. What is done is done.
    return state ~= RETRYING and state ~= COMPLETED and (round + 1) * 16 or nil
  elseif next == UNKNOWN and state then
    return nil
  elseif attempt == -1 then
    return state ~= next and (round + 1) * 16 + RANK[next] or nil
  elseif attempt > 0 and attempt < round then
    return nil
  end
  local reached = max(round, attempt) * 16 + RANK[next]
  return (not state or reached > mark) and reached or nil
end

-- Goes through a job's transitions and marks them. Answers state, mark, previous state, when in us it went into the state, and when in ms
-- its last attempt began, and whether a later attempt showed a retry that was not observed yet: that changes nothing when it is.
function fold.run(base, steps)
  local state, mark, previous, since, started, owes_retry = false, FIRST_MARK, false, false, false, false
  if base then
    state, mark, previous, since, started, owes_retry = base[1], base[2], base[3], base[4], base[5], base[7]
  end
  for n = 1, #steps, WIDTH do
    local next = steps[n]
    local reached = not (owes_retry and next == RETRYING) and fold.advance(state, mark, next, steps[n + 3]) or nil
    if next == RETRYING then
      owes_retry = false
    elseif reached and state and state ~= RETRYING and steps[n + 3] > 0 and reached - mark >= 16 - mark % 16 then
      owes_retry = true
    end
    steps[n + 4] = reached or 0
    if reached then
      previous, state, mark, since = state, next, reached, steps[n + 1]
      if next == ACTIVE then
        started = floor(since / 1000)
      end
    end
  end
  return state, mark, previous, since, started, owes_retry
end

-- Puts a transition in its place. Answers whether the same was observed before (the same state within the same millisecond), and whether
-- the transitions must be gone through again.
function fold.insert(base, steps, state, us, clock, attempt)
  if base and us <= base[6] then
    return false, false
  end
  local ms = floor(us / 1000)
  local at = #steps + 1
  while at > 1 do
    local n = at - WIDTH
    if floor(steps[n + 1] / 1000) < ms then
      break
    elseif floor(steps[n + 1] / 1000) == ms and steps[n] == state then
      -- The same, perhaps with more.
      if attempt > 0 and attempt > steps[n + 3] and steps[n + 3] ~= -1 then
        steps[n + 3] = attempt
        return true, true
      end
      return true, false
    end
    at = n
  end
  -- Back to where it belongs among those of the same millisecond.
  while at <= #steps do
    local n = at
    local is_later = steps[n + 1] > us
    if steps[n + 1] == us then
      is_later = steps[n + 2] > clock or (steps[n + 2] == clock and RANK[steps[n]] > RANK[state])
    end
    if is_later then
      break
    end
    at = at + WIDTH
  end
  for n = #steps, at, -1 do
    steps[n + WIDTH] = steps[n]
  end
  steps[at], steps[at + 1], steps[at + 2], steps[at + 3], steps[at + 4] = state, us, clock, attempt, 0
  return false, true
end

-- Puts the oldest transitions together where there are too many. Answers base and transitions.
function fold.shorten(base, steps)
  if #steps <= TRANSITIONS_MOST * WIDTH then
    return base, steps
  end
  local old, rest = {}, {}
  for n = 1, #steps do
    if n <= PUT_TOGETHER * WIDTH then
      old[n] = steps[n]
    else
      rest[#rest + 1] = steps[n]
    end
  end
  local limit_us = old[#old - WIDTH + 2]
  local state, mark, previous, since, started, owes_retry = fold.run(base, old)
  return { state, mark, previous, since, started, limit_us, owes_retry }, rest
end

-- The job begins anew: of its transitions those stay that are later than `limit_us`. Answers base and transitions.
function fold.begin_again(steps, limit_us)
  local rest = {}
  for n = 1, #steps, WIDTH do
    if steps[n + 1] > limit_us then
      for k = n, n + WIDTH - 1 do
        rest[#rest + 1] = steps[k]
      end
    end
  end
  return { false, FIRST_MARK, false, false, false, limit_us, false }, rest
end
