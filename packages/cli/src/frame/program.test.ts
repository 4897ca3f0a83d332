import { InvalidArgumentError, MalformedError, RefusedError, UnavailableError } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { runTable } from '../testing/run.js';
import { command, internalErrorStatus, type Result } from './command.js';
import {
  argument,
  argumentList,
  flag,
  number,
  repeated,
  required,
  text,
  withDefault,
  word,
} from './options.js';
import type { CommandTable } from './table.js';

const done = (json: unknown): Result => ({
  exit: 0,
  json,
  render: (screen) => screen.line(JSON.stringify(json)),
});

const echo = command({
  description: 'Says what it was given.',
  arguments: { first: argument('first', 'one'), others: argumentList('others', 'more') },
  options: {
    policy: withDefault(number('--policy <n>', 'a number', word), 7),
    name: required(text('--name <name>', 'a name')),
    secret: repeated(text('--secret <s>', 'a thing')),
    force: flag('--force', 'a switch'),
  },
  examples: [{ line: 'echo a b --name x', explains: 'says it back' }],
  run: async (input) => done(input),
});

const failing = (error: unknown) =>
  command({
    description: 'Fails.',
    arguments: {},
    options: {},
    examples: [],
    async run(): Promise<Result> {
      throw error;
    },
  });

const malformed = new MalformedError({
  structure: 'PEK',
  field: 'usage',
  offset: 8,
  expected: '1',
  found: '2',
});
const refused = new RefusedError({
  subject: 'a chain',
  checks: [
    {
      id: 'chain.x',
      title: 'X',
      status: 'fail',
      kind: 'authenticity',
      expected: 'a',
      found: 'b',
      hint: 'look',
    },
  ],
});

const loaded: string[] = [];
const leaf = (summary: string, made: ReturnType<typeof failing>) => ({
  summary,
  async load() {
    loaded.push(summary);
    return made;
  },
});

const table: CommandTable = {
  echo: leaf('say it back', echo),
  fail: {
    summary: 'ways to fail',
    commands: {
      malformed: leaf('malformed', failing(malformed)),
      argument: leaf(
        'argument',
        failing(new InvalidArgumentError('--x', 'it is bad', { hint: 'make it good' })),
      ),
      hostile: leaf(
        'hostile',
        failing(new UnavailableError('host', 'says \u001b[2J', { hint: 'do \u009b2J' })),
      ),
      outside: leaf('outside', failing(new UnavailableError('disk', 'it is full'))),
      refused: leaf('refused', failing(refused)),
      internal: leaf('internal', failing(new TypeError('secret 0123456789abcdef leaked'))),
      system: leaf(
        'system',
        failing(Object.assign(new Error('x'), { code: 'ECONNREFUSED', syscall: 'connect' })),
      ),
    },
  },
};

const run = (...words: string[]) => runTable(table, words);

describe('the frame', () => {
  it('reads arguments and options', async () => {
    const { exit, stdout } = await run(
      'echo',
      'a',
      'b',
      'c',
      '--name',
      'n',
      '--policy',
      '0x10',
      '--secret',
      's',
      '--secret',
      't',
      '--json',
    );
    expect(exit).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      first: 'a',
      others: ['b', 'c'],
      policy: 16,
      name: 'n',
      secret: ['s', 't'],
      force: false,
    });
  });

  it('fills in defaults, and prints to people without --json', async () => {
    const { stdout } = await run('echo', 'a', 'b', '--name', 'n', '--force');
    expect(stdout).toContain('"policy":7');
    expect(stdout).toContain('"force":true');
  });

  it.each([
    [['fail', 'malformed'], 2, 'PEK: usage at offset 0x8: expected 1, found 2'],
    [['fail', 'argument'], 2, '--x: it is bad\n  hint: make it good'],
    [['fail', 'outside'], 3, 'disk: it is full'],
    [['fail', 'hostile'], 3, 'host: says \\x1b[2J\n  hint: do \\x9b2J'],
    [['fail', 'refused'], 1, 'refused: a chain'],
    [['fail', 'system'], 3, 'connect: the system answered ECONNREFUSED'],
    [
      ['echo', 'a', 'b'],
      2,
      '--name: it has to be given\n  hint: `vouchsafe echo --help` explains its options',
    ],
    [['echo', 'a', 'b', '--name', 'n', '--policy', '-1'], 2, '--policy'],
    [['echo', 'a', 'b', '--name', 'n', '--policy', '08x'], 2, '--policy: expected a number from 0'],
    [['echo', 'a', '--name', 'n'], 2, "missing required argument 'others'"],
    [
      ['echo', '--nam', 'n'],
      2,
      "unknown option '--nam'\n(Did you mean --name?)\n  hint: `vouchsafe echo --help` shows how it is written",
    ],
    [['ecko'], 2, "unknown command 'ecko'"],
    [['fail', 'nothing'], 2, "unknown command 'nothing'"],
  ] as [string[], number, string][])('%j ends with %i', async (words, status, said) => {
    const { exit, stdout, stderr } = await run(...words);
    expect(exit).toBe(status);
    expect(stdout).toBe('');
    expect(stderr).toContain(said);
    expect(stderr).not.toMatch(/^\s+at /m);

    const json = await run(...words, '--json');
    expect(json.exit).toBe(status);
    expect(json.stderr).toBe('');
    expect(JSON.parse(json.stdout).error).toMatchObject({
      code: expect.any(String),
      message: expect.any(String),
    });
  });

  it('gives the evidence of an error in the document', async () => {
    const { error } = JSON.parse((await run('fail', 'malformed', '--json')).stdout);
    expect(error).toMatchObject({
      code: 'malformed',
      structure: 'PEK',
      field: 'usage',
      offset: 8,
      expected: '1',
      found: '2',
      hint: null,
    });
    const document = JSON.parse((await run('fail', 'refused', '--json')).stdout);
    expect(document).toMatchObject({
      accepted: false,
      root: null,
      checks: [{ id: 'chain.x', status: 'fail' }],
      error: { code: 'refused' },
    });
  });

  it('keeps its own mistakes apart, and what they say to itself', async () => {
    const { exit, stdout, stderr } = await run('fail', 'internal');
    expect(exit).toBe(internalErrorStatus);
    expect(stdout).toBe('');
    expect(stderr).toContain('please report it');
    expect(stderr).not.toContain('0123456789abcdef');
    const debug = await runTable(table, ['fail', 'internal'], { env: { VOUCHSAFE_DEBUG: '1' } });
    expect(debug.stderr).toMatch(/TypeError[\s\S]*\n\s+at /);
  });

  it('shows help without loading a command', async () => {
    loaded.length = 0;
    for (const words of [[], ['--help'], ['help'], ['fail', '--help'], ['help', 'fail']]) {
      const { exit, stdout, stderr } = await run(...words);
      expect(exit).toBe(0);
      expect(stderr).toBe('');
      expect(stdout).toContain(words.includes('fail') ? 'malformed' : 'ways to fail');
    }
    expect(loaded).toEqual([]);
  });

  it('shows the help of a command with its examples', async () => {
    for (const words of [
      ['echo', '--help'],
      ['help', 'echo'],
    ]) {
      const { exit, stdout } = await run(...words);
      expect(exit).toBe(0);
      expect(stdout).toContain('Says what it was given.');
      expect(stdout).toContain('$ vouchsafe echo a b --name x');
      expect(stdout).toContain('--policy <n>');
      expect(stdout).toContain('--json');
    }
  });

  it('asks for a command where a group was named, and prints its version', async () => {
    const group = await run('fail');
    expect(group.exit).toBe(2);
    expect(group.stdout).toBe('');
    expect(group.stderr).toContain('malformed');
    expect(await run('--version')).toEqual({ exit: 0, stdout: '1.2.3\n', stderr: '' });
  });

  it('stays until it is asked to stop', async () => {
    const order: string[] = [];
    const server = command({
      description: 'Stays.',
      arguments: {},
      options: {},
      examples: [],
      run: async () => ({
        ...done({ url: 'x' }),
        async stay(stop: AbortSignal) {
          order.push(stop.aborted ? 'asked before' : 'staying');
        },
      }),
    });
    const { exit, stdout } = await runTable({ serve: leaf('serve', server) }, ['serve', '--json']);
    expect([exit, JSON.parse(stdout), order]).toEqual([0, { url: 'x' }, ['staying']]);
  });
});
