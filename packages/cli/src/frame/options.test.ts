import { InvalidArgumentError } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { runTable } from '../testing/run.js';
import { command } from './command.js';
import {
  flag,
  grouped,
  instant,
  readInstant,
  readWideNumber,
  wideNumber,
  wideNumberArgument,
} from './options.js';

describe('numbers of 64 bits', () => {
  it('keep every digit', () => {
    expect(readWideNumber('0xffffffffffffffff', 'n')).toBe(2n ** 64n - 1n);
    expect(readWideNumber('18446744073709551615', 'n')).toBe(2n ** 64n - 1n);
    expect(wideNumber('--word <n>', 'a word').read('0X1F')).toBe(31n);
    expect(wideNumber('--word <n>', 'a word').read(undefined)).toBeUndefined();
    expect(wideNumberArgument('word', 'a word').read('7')).toBe(7n);
    expect(readWideNumber('255', 'n', 8)).toBe(255n);
  });

  it.each([
    '',
    '-1',
    '1.0',
    '1e3',
    '0x',
    '0b1',
    ' 1',
    '0x10000000000000000',
    '18446744073709551616',
    '9'.repeat(21),
  ])('are not %j', (given) => {
    expect(() => readWideNumber(given, '--word')).toThrow(InvalidArgumentError);
    expect(() => readWideNumber(given, '--word')).toThrow('--word');
  });

  it('do not exceed the bits that are asked for', () => {
    expect(() => readWideNumber('256', 'n', 8)).toThrow('8 bits');
  });
});

describe('dates', () => {
  it.each([
    ['2026-03-07', Date.UTC(2026, 2, 7)],
    ['2026-03-07T01:04Z', Date.UTC(2026, 2, 7, 1, 4)],
    ['2026-03-07T01:04:33Z', Date.UTC(2026, 2, 7, 1, 4, 33)],
    ['2026-03-07T01:04:33.250Z', Date.UTC(2026, 2, 7, 1, 4, 33, 250)],
    ['2026-03-07T00:30:00+01:00', Date.UTC(2026, 2, 6, 23, 30)],
    ['2024-02-29', Date.UTC(2024, 1, 29)],
  ])('%s', (given, expected) => {
    expect(instant('--at <date>', 'a date').read(given)).toBe(expected);
  });

  it.each([
    '',
    'now',
    '2026',
    '2026-3-7',
    '2026-02-29',
    '2026-02-30T00:00:00Z',
    '2026-13-01',
    '2026-03-07T25:00:00Z',
    '2026-03-07T01:04:33',
    '2026-03-07 01:04:33Z',
    '07.03.2026',
  ])('are not %j', (given) => {
    expect(() => readInstant(given, '--at')).toThrow(/^--at: expected a date/);
  });
});

it('puts options under headings of their own in help', async () => {
  const table = {
    try: {
      summary: 'tries options',
      load: async () =>
        command({
          description: 'Tries options.',
          arguments: {},
          options: { plain: flag('--plain', 'plain'), ...grouped('Colours', { red: flag('--red', 'red') }) },
          examples: [],
          run: async (input) => ({ exit: 0, json: input, render: () => undefined }),
        }),
    },
  };
  const { stdout } = await runTable(table, ['try', '--help']);
  expect(stdout).toMatch(/\nOptions:\n {2}--plain [\s\S]*\nColours:\n {2}--red +red\n/);
  const { stdout: json } = await runTable(table, ['try', '--red', '--json']);
  expect(JSON.parse(json)).toEqual({ plain: false, red: true });
});
