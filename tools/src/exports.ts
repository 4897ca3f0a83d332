import type { Bits, CheckTable, Structure } from '@vouchsafe/sev';

export type AnyStructure = Structure<object, object>;
export type AnyBits = Bits<object>;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;
const isReader = (value: unknown): value is Record<string, unknown> =>
  isObject(value) && typeof value['parse'] === 'function' && typeof value['build'] === 'function';

/** In one order everywhere: a module's own order depends on who loads it. */
const entriesOf = (module: object): [string, unknown][] =>
  Object.entries(module).sort(([a], [b]) => (a < b ? -1 : 1));

/** The structures that a module exports, by exported name; a record of them (`layouts.4096`) counts as each of them. */
export function structuresOf(module: object): [string, AnyStructure][] {
  const isStructure = (value: unknown) => isReader(value) && isObject(value['fields']);
  const found = entriesOf(module).flatMap(([name, value]): [string, unknown][] => {
    if (isStructure(value)) return [[name, value]];
    if (!isObject(value) || !Object.values(value).every(isStructure)) return [];
    return Object.entries(value).map(([key, inner]) => [`${name}.${key}`, inner]);
  });
  return found as [string, AnyStructure][];
}

/** The messages that a module exports. */
export function messagesOf(module: object): [string, { parseText(text: string): unknown }][] {
  const found = entriesOf(module).filter(
    ([, value]) => isObject(value) && typeof value['parseText'] === 'function',
  );
  return found as [string, { parseText(text: string): unknown }][];
}

/** The words with named bits that a module exports. */
export function bitsOf(module: object): [string, AnyBits][] {
  const found = entriesOf(module).filter(([, value]) => isReader(value) && isObject(value['ranges']));
  return found as [string, AnyBits][];
}

/** Names of the exported functions that read something: `parse…`. */
export function parserNamesOf(module: object): string[] {
  return entriesOf(module)
    .filter(([name, value]) => /^parse[A-Z]/.test(name) && typeof value === 'function')
    .map(([name]) => name);
}

/** The tables of checks that a module exports. */
export function checkTablesOf(module: object): [string, CheckTable][] {
  const isDefinition = (value: unknown) =>
    isObject(value) && typeof value['protects'] === 'string' && typeof value['title'] === 'string';
  const found = entriesOf(module).filter(([, value]) => {
    const rows = isObject(value) ? Object.values(value) : [];
    return rows.length > 0 && rows.every(isDefinition);
  });
  return found as [string, CheckTable][];
}
