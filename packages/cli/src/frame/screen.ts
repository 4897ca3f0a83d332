import { styleText } from 'node:util';
import Table from 'cli-table3';
import type { Io, OutputStream } from './io.js';

/** The meanings that text can have; colours follow from them, and nothing is told by colour alone. */
const styles = {
  good: 'green',
  bad: 'red',
  warning: 'yellow',
  strong: 'bold',
  quiet: 'dim',
} as const;
export type Meaning = keyof typeof styles;

/** Where a command shows its result to people. */
export interface Screen {
  line(text?: string): void;
  paint(meaning: Meaning, text: string): string;
  /** Rows under headings; the last column is wrapped to the width of a terminal. */
  table(headings: readonly string[], rows: readonly (readonly string[])[]): void;
  /** Names and values in two columns, without headings. */
  facts(rows: readonly (readonly [name: string, value: string])[]): void;
}

/** Colour is for a terminal whose user did not say NO_COLOR (https://no-color.org). */
function wantsColour(stream: OutputStream, env: Io['env']): boolean {
  const refused = env['NO_COLOR'] !== undefined && env['NO_COLOR'] !== '';
  return stream.isTTY === true && !refused && env['TERM'] !== 'dumb';
}

export function screenOn(stream: OutputStream, env: Io['env']): Screen {
  const colour = wantsColour(stream, env);
  const width = stream.isTTY === true ? (stream.columns ?? 80) : undefined;
  const paint = (meaning: Meaning, text: string) =>
    colour ? styleText(styles[meaning], text, { validateStream: false }) : text;
  const line = (text = '') => {
    stream.write(`${text}\n`);
  };

  function table(headings: readonly string[], rows: readonly (readonly string[])[]): void {
    const widths = width === undefined ? undefined : columnWidths(headings, rows, width);
    const grid = new Table({
      head: headings.map((heading) => paint('strong', heading)),
      chars: borderless,
      style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
      ...(widths === undefined ? {} : { colWidths: widths, wordWrap: true, wrapOnWordBoundary: false }),
    });
    for (const row of rows) grid.push([...row]);
    for (const each of grid.toString().split('\n')) line(each.trimEnd());
  }

  function facts(rows: readonly (readonly [string, string])[]): void {
    const longest = Math.max(0, ...rows.map(([name]) => name.length));
    for (const [name, value] of rows) line(`  ${paint('quiet', name.padEnd(longest))}  ${value}`);
  }

  return { line, paint, table, facts };
}

/**
 * Text of others, for a terminal that it must not steer: control characters but line breaks and tabs are spelled out.
 */
export function harmless(text: string): string {
  return text.replaceAll(
    /[^\P{Cc}\n\t]/gu,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

const borderless = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '',
};

const ansi = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, 'g');
const visibleLength = (text: string) =>
  Math.max(...text.split('\n').map((line) => line.replaceAll(ansi, '').length));

/** Natural widths, padding included; where they exceed the terminal, the last column gives way. */
function columnWidths(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  total: number,
): number[] {
  const natural = headings.map(
    (heading, at) => Math.max(heading.length, ...rows.map((row) => visibleLength(row[at] ?? ''))) + 2,
  );
  const others = natural.slice(0, -1).reduce((sum, each) => sum + each, 0);
  const last = Math.max(20, Math.min(natural.at(-1) ?? 0, total - others));
  return [...natural.slice(0, -1), last];
}
