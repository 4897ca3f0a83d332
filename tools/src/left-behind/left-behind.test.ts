import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { runAndSearch } from './run.js';

/** Known by itself, and not by what the whole run is searched for: that would find what is hidden here. */
const secret = 'planted by a test';

/** What a test might do with a secret: the process is told which, and has what the tests' processes have. */
const plants = {
  nothing: '',
  'its output': 'console.log(secret)',
  'its errors': 'console.error(hex(secret).toUpperCase())',
  'a temporary file': 'write("left", secret)',
  'a database, removed': 'write("a/broker.db-wal", secret); rmSync(at("a"), { recursive: true })',
  'a database of PostgreSQL, removed':
    'write("data/base/16384/16397", secret); await rm(at("data"), { recursive: true })',
  'a log, removed': 'write("a/service.log", hex(secret)); rmSync(at("a/service.log"))',
  'an exported record, removed': 'write("record.ndjson", secret); fs.rmSync(at("record.ndjson"))',
  'what a child process writes': 'spawnNode("console.error(process.env.SECRET)", "pipe")',
  'what a server writes': 'spawnNode("console.log(process.env.SECRET)", "pipe", "serve")',
  'a log in the process': 'keep("logs", secret)',
  'an answer that is an error': 'keep("errors", secret)',
  metrics: 'keep("metrics", secret)',
  'an input, removed': 'write("a/disk.key", secret); rmSync(at("a"), { recursive: true })',
} as const;

const program = `
import { spawn } from 'node:child_process';
import fs, { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { lookBeforeRemovals } from './before-removal.js';
import { keepChildOutput } from './child-output.js';
import { keep } from './keep.js';
const secret = process.env.SECRET;
lookBeforeRemovals({ name: 'a secret', bytes: Buffer.from(secret) });
keepChildOutput();
const at = (name) => join(tmpdir(), name);
const hex = (text) => Buffer.from(text).toString('hex');
const write = (name, text) => {
  mkdirSync(dirname(at(name)), { recursive: true });
  writeFileSync(at(name), text);
};
const spawnNode = (script, output, ...words) => {
  const child = spawn(process.execPath, ['-e', script, ...words], { stdio: ['ignore', output, output] });
  child.stdout.resume();
  child.stderr.resume();
};
switch (process.argv[2]) {
${Object.entries(plants)
  .map(([name, does]) => `case ${JSON.stringify(name)}: { ${does}; break; }`)
  .join('\n')}
}`;

describe('after a run, a secret is found', () => {
  let folder: string;
  let script: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'vouchsafe-left-behind-'));
    script = join(folder, 'plant.mjs');
    await build({
      stdin: { contents: program, resolveDir: import.meta.dirname, loader: 'ts' },
      bundle: true,
      platform: 'node',
      format: 'esm',
      conditions: ['vouchsafe-source'],
      outfile: script,
    });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  async function search(plant: keyof typeof plants, ...words: readonly string[]) {
    const own = mkdtempSync(join(folder, 'run-'));
    process.env['SECRET'] = secret;
    onTestFinished(() => void delete process.env['SECRET']);
    return runAndSearch(own, [process.execPath, script, plant, ...words], () => undefined, {
      everyMs: 5,
      marker: { name: 'a secret', bytes: Buffer.from(secret) },
    });
  }

  it.each([
    ['its output', /^output: a secret, as it is$/],
    ['its errors', /^output: a secret, in upper-case hexadecimal$/],
    ['a temporary file', /^temporary file left: a secret, as it is$/],
    ['a database, removed', /^database \S+\/a\/broker\.db-wal: a secret, as it is$/],
    ['a database of PostgreSQL, removed', /^database \S+\/16397: a secret, as it is$/],
    ['a log, removed', /^log \S+\/service\.log: a secret, in hexadecimal$/],
    ['an exported record, removed', /^record \S+\/record\.ndjson: a secret, as it is$/],
    ['what a child process writes', /^logs: a secret, as it is$/],
    ['what a server writes', /^logs: a secret, as it is$/],
    ['a log in the process', /^logs: a secret, as it is$/],
    ['an answer that is an error', /^errors: a secret, as it is$/],
    ['metrics', /^metrics: a secret, as it is$/],
  ] as const)('in %s', async (plant, finding) => {
    const { status, findings } = await search(plant);
    expect(status).toBe(0);
    expect(findings).toEqual([expect.stringMatching(finding)]);
  });

  it.runIf(process.platform === 'linux')('in arguments', async () => {
    const { findings } = await search('nothing', secret);
    expect(findings).toEqual([
      expect.stringMatching(/^arguments .*plant\.mjs nothing .*: a secret, as it is$/),
    ]);
  });

  it('nowhere else: not in what a test gives to what it tests', async () => {
    const { findings, remains } = await search('an input, removed');
    expect([findings, remains]).toEqual([[], []]);
  });

  it('beside what remains in the temporary folder', async () => {
    const { remains, searched } = await search('a temporary file');
    expect(remains).toEqual(['left']);
    expect(searched).toMatch(/, 1 temporary files$/);
  });
});
