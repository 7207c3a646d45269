-- claims: what items of a batch prove, see `claim`.
local kind = '\255' -- the packed resource type of the item before, for most of a batch have the same
