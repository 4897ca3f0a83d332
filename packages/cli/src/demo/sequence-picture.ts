import type { Screen } from '../frame/screen.js';
import { type MessageEvent, type NarrationEvent, type Role, roles, type StepEvent } from './narration.js';

/** Draws messages between roles as a sequence picture, line by line, as they happen. */

/** Five columns fit the 80 columns of an ordinary terminal. */
const columnWidth = 15;
const centre = (role: Role): number => roles.indexOf(role) * columnWidth + Math.floor(columnWidth / 2);

export function drawHeading(screen: Screen): void {
  const names = roles.map((role) => {
    const left = Math.floor((columnWidth - role.length) / 2);
    return `${' '.repeat(left)}${role}`.padEnd(columnWidth);
  });
  screen.line(screen.paint('strong', names.join('').trimEnd()));
  screen.line(screen.paint('quiet', lifelines().join('').trimEnd()));
}

export function drawEvent(screen: Screen, event: NarrationEvent): void {
  if (event.kind === 'message') drawMessage(screen, event);
  if (event.kind === 'step') drawStep(screen, event);
}

function drawMessage(screen: Screen, { from, to, what, readableBy, size, digest }: MessageEvent): void {
  const line = lifelines();
  const [left, right] = [centre(from), centre(to)].toSorted((a, b) => a - b) as [number, number];
  for (let at = left + 1; at < right; at++) line[at] = line[at] === '│' ? '┼' : '─';
  line[centre(to)] = centre(to) > centre(from) ? '▶' : '◀';
  const open = readableBy === 'anyone';
  screen.line(screen.paint(open ? 'warning' : 'good', line.join('').trimEnd()));
  screen.line(`  ${screen.paint('strong', what)}`);
  screen.line(screen.paint('quiet', `  ${size} bytes, sha256 ${digest}…, readable by ${readableBy}`));
}

const marks = { done: '●', accepted: '✔', refused: '✘' } as const;
const meanings = { done: 'quiet', accepted: 'good', refused: 'bad' } as const;

function drawStep(screen: Screen, { at, what, outcome }: StepEvent): void {
  const line = lifelines();
  line[centre(at)] = marks[outcome];
  screen.line(screen.paint(meanings[outcome], line.join('').trimEnd()));
  screen.line(`  ${at}: ${what}`);
}

function lifelines(): string[] {
  const line = Array.from({ length: roles.length * columnWidth }, () => ' ');
  for (const role of roles) line[centre(role)] = '│';
  return line;
}
