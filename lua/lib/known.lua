-- known: `known` and `told` become what the replica sent with item `i` of a batch: of the reservation, of the event. Nothing: as of the item before.
if items[known_of + i] ~= '' then
  known, told, differs = items[known_of + i], items[told_of + i], differs or 'told'
end
