import type { AnyCommand } from './command.js';

/** A command in the table: a line for the lists, and how to load its declaration when it is wanted. */
export interface Leaf {
  readonly summary: string;
  load(): Promise<AnyCommand>;
  /** Commands whose first word is this one’s: `digest` and `digest explain`. */
  readonly commands?: CommandTable;
}

/** Commands under one word. */
export interface Group {
  readonly summary: string;
  readonly commands: CommandTable;
}

/**
 * The tree of commands. It holds words and functions only: help lists load no command, and a command loads nothing but
 * itself.
 */
export type CommandTable = Readonly<Record<string, Leaf | Group>>;

export function isLeaf(node: Leaf | Group): node is Leaf {
  return 'load' in node;
}

/** The words at the start of `words` that name a node of the table, and that node; the node is absent for no word. */
export function findNode(
  table: CommandTable,
  words: readonly string[],
): { path: string[]; node?: Leaf | Group } {
  const path: string[] = [];
  let node: Leaf | Group | undefined;
  let rest: CommandTable | undefined = table;
  for (const word of words) {
    if (rest === undefined || !Object.hasOwn(rest, word)) break;
    path.push(word);
    node = rest[word]!;
    rest = node.commands;
  }
  return node === undefined ? { path } : { path, node };
}

/** Every command of the table with its words, in the table's order. */
export function allCommands(
  table: CommandTable,
  above: readonly string[] = [],
): { path: string[]; leaf: Leaf }[] {
  return Object.entries(table).flatMap(([word, node]) => {
    const path = [...above, word];
    const below = node.commands === undefined ? [] : allCommands(node.commands, path);
    return isLeaf(node) ? [{ path, leaf: node }, ...below] : below;
  });
}
