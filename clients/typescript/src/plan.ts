import type { Definition, Plan, Resource } from "./types.js";

/** What is to be created, changed and, with `prune`, deleted. Ancestors of what is wanted are kept. */
export function difference(definitions: readonly Definition[], registered: readonly Resource[], prune: boolean): Plan {
  const present = new Map(registered.map((one) => [one.name, one]));
  const kept = new Set<string>();
  const twice = new Set<string>();
  const created: Definition[] = [];
  const changed: { from: Definition; to: Definition }[] = [];
  for (const definition of definitions) {
    if (kept.has(definition.name) && definitions.filter(({ name }) => name === definition.name).length > 1) {
      twice.add(definition.name);
    }
    kept.add(definition.name);
    const known = present.get(definition.name);
    if (known === undefined) created.push(definition);
    else if (meaning(known) !== meaning(definition)) changed.push({ from: definitionOf(known), to: definition });
  }
  if (twice.size > 0) throw new TypeError(`defined more than once: ${[...twice].join(", ")}`);
  for (const { treePath } of definitions) for (const name of (treePath ?? "").split(">")) kept.add(name);
  const gone = prune ? registered.filter((one) => !kept.has(one.name)) : [];
  return {
    created,
    changed,
    deleted: gone.sort((one, other) => other.ancestors.length - one.ancestors.length).map((one) => one.name),
    unchanged: definitions.length - created.length - changed.length,
  };
}

function definitionOf({ name, capacity, blocks, treePath }: Resource): Definition {
  return { name, capacity, blocks, treePath };
}

/** The order of blockers says nothing. */
function meaning({ capacity = 1, blocks = [], treePath }: Definition): string {
  return JSON.stringify([capacity, [...new Set(blocks)].sort(), treePath ?? ""]);
}
