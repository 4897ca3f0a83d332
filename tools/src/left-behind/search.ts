import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { secretMarker } from './secrets.js';
import { filesBelow, type Marker, tracesBelow, tracesIn } from './traces.js';

/** What a run left: its folder for temporary files, the folder of what was kept, and the arguments of its processes. */
export interface LeftBehind {
  readonly temporary: string;
  readonly kept: string;
  readonly arguments: Iterable<string>;
  /** What secrets are known by: what those of this project's tests have in common, unless told otherwise. */
  readonly marker?: Marker;
}

export interface SearchResult {
  /** Where a secret was found, in which form. */
  readonly findings: readonly string[];
  /** What lies in the temporary folder still. */
  readonly remains: readonly string[];
  /** What was searched, in words. */
  readonly searched: string;
}

/** Looks for the tests' secrets in everything that a run left behind. */
export function searchLeftBehind({
  temporary,
  kept,
  arguments: lines,
  marker = secretMarker,
}: LeftBehind): SearchResult {
  const files = readdirSync(kept);
  const read = (place: string) =>
    files.filter((name) => name.startsWith(place)).map((name) => readFileSync(join(kept, name), 'utf8'));
  const all = [...lines];
  const findings = [
    ...read('findings').flatMap((text) => text.split('\n').filter((line) => line !== '')),
    ...all.flatMap((line) =>
      tracesIn(line, [marker]).map((trace) => `arguments ${line.replaceAll('\0', ' ')}: ${trace}`),
    ),
    ...['output', 'logs', 'errors', 'metrics'].flatMap((place) =>
      read(place).flatMap((text) => tracesIn(text, [marker]).map((trace) => `${place}: ${trace}`)),
    ),
    ...tracesBelow(temporary, [marker]).map((trace) => `temporary file ${trace}`),
  ];
  const removed = read('searched').join('').split('\n');
  const count = (kind: string) => removed.filter((line) => line === kind).length;
  const size = (place: string) => `${Math.ceil(read(place).join('').length / 1024)} KiB`;
  const searched =
    `${all.length} command lines, ${size('output')} of output, ${size('logs')} of logs, ` +
    `${size('errors')} of errors, ${size('metrics')} of metrics, ${count('database')} files of databases, ` +
    `${count('log')} of logs and ${count('record')} of records before their removal, ` +
    `${filesBelow(temporary).length} temporary files`;
  return { findings: [...new Set(findings)], remains: readdirSync(temporary), searched };
}
