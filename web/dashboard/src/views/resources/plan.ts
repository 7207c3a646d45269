// The difference between a file of definitions and what is registered, as `holdfast register --plan` shows it.

import type { Resource, ResourceDefinition } from '../../api/types';
import { parse as parseToml } from 'smol-toml';

/** A definition with every field. */
export interface Definition {
  name: string;
  capacity: number;
  blocks: string[];
  treePath: string;
}

export interface Plan {
  created: Definition[];
  changed: { from: Definition; to: Definition }[];
  unchanged: number;
  /** Registered, and not in the file: left as they are. */
  others: string[];
}

const FIELDS = new Set(['name', 'capacity', 'blocks', 'treePath']);

/**
 * Reads a file: JSON, a list of definitions as the API takes them, or TOML with `[[resource]]` tables.
 *
 * @throws Error what is wrong with it, for people
 */
export function readDefinitions(text: string): Definition[] {
  const isJson = /^\s*\[\s*(\{|\])/.test(text);
  const read: unknown = isJson ? JSON.parse(text) : parseToml(text).resource ?? [];
  if (!Array.isArray(read)) throw new Error('The file has to be a list of definitions, or [[resource]] tables.');
  const names = new Set<string>();
  return read.map((item: unknown, at) => {
    const definition = definitionOf(item, at);
    if (names.has(definition.name)) throw new Error(`"${definition.name}" is defined twice.`);
    names.add(definition.name);
    return definition;
  });
}

function definitionOf(item: unknown, at: number): Definition {
  if (typeof item !== 'object' || item === null) throw new Error(`Definition ${at + 1} is no table.`);
  const { name, capacity = 1, blocks = [], treePath = '' } = item as Partial<Record<string, unknown>>;
  const unknown = Object.keys(item).find((field) => !FIELDS.has(field));
  const where = typeof name === 'string' ? `"${name}"` : `Definition ${at + 1}`;
  if (unknown !== undefined) throw new Error(`${where}: there is no field "${unknown}"; there are ${[...FIELDS].join(', ')}.`);
  if (typeof name !== 'string' || name === '') throw new Error(`${where} has no name.`);
  if (typeof capacity !== 'number' || !Number.isInteger(capacity)) throw new Error(`${where}: capacity has to be a whole number.`);
  if (!Array.isArray(blocks) || blocks.some((block) => typeof block !== 'string')) throw new Error(`${where}: blocks has to be a list of names.`);
  if (treePath !== null && typeof treePath !== 'string') throw new Error(`${where}: treePath has to be a text like "Equipment>IT".`);
  return { name, capacity, blocks: blocks as string[], treePath: treePath ?? '' };
}

export function planOf(wanted: Definition[], registered: readonly Resource[]): Plan {
  const present = new Map(registered.map((resource) => [resource.name, asDefinition(resource)]));
  const plan: Plan = { created: [], changed: [], unchanged: 0, others: [] };
  // Ancestors are registered on the way, so a file need not name them.
  const named = new Set(wanted.flatMap((definition) => [definition.name, ...definition.treePath.split('>')]));
  for (const to of wanted) {
    const from = present.get(to.name);
    if (from === undefined) plan.created.push(to);
    else if (differences(from, to).length === 0) plan.unchanged += 1;
    else plan.changed.push({ from, to });
  }
  plan.others = [...present.keys()].filter((name) => !named.has(name));
  return plan;
}

function asDefinition(resource: Resource): Definition {
  return { name: resource.name, capacity: resource.capacity, blocks: resource.blocks, treePath: resource.treePath ?? '' };
}

/** Which fields differ, as `capacity 2 → 4`. The order of blockers says nothing. */
export function differences(from: Definition, to: Definition): string[] {
  const blocksOf = (definition: Definition): string => [...new Set(definition.blocks)].sort().join(', ') || 'none';
  const pairs: [string, string, string][] = [
    ['capacity', String(from.capacity), String(to.capacity)],
    ['takes with it', blocksOf(from), blocksOf(to)],
    ['stands under', from.treePath || 'nothing', to.treePath || 'nothing'],
  ];
  return pairs.filter(([, before, after]) => before !== after).map(([field, before, after]) => `${field} ${before} → ${after}`);
}

export function toSend(plan: Plan): ResourceDefinition[] {
  return [...plan.created, ...plan.changed.map(({ to }) => to)]
    .map(({ name, capacity, blocks, treePath }) => ({ name, capacity, blocks, ...(treePath && { treePath }) }));
}
