import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { build, runProcess } from './testing/process.js';

const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-main-'));
beforeAll(build);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Prints each module that is loaded on standard error. */
const tellModules = [
  '--import',
  `data:text/javascript,${encodeURIComponent(
    `import { register } from 'node:module';
     const hook = "export async function load(url, context, next) { process._rawDebug('loaded ' + url); return next(url, context); }";
     register('data:text/javascript,' + encodeURIComponent(hook));`,
  )}`,
];

async function modulesOf(...words: string[]): Promise<string[]> {
  const { stderr } = await runProcess(words, { nodeOptions: tellModules });
  return [...stderr.matchAll(/^loaded (file:.*)$/gm)].map(([, url]) => url!);
}

describe('the built command', () => {
  it('exits as it should', async () => {
    const bad = join(folder, 'bad.cert');
    writeFileSync(bad, 'no certificate');
    expect((await runProcess(['policy', 'explain', '0x2b'])).exit).toBe(0);
    expect((await runProcess(['policy', 'explain', 'x'])).exit).toBe(2);
    expect((await runProcess(['chain', 'verify', bad])).exit).toBe(2);
    expect((await runProcess(['chain', 'verify', join(folder, 'none')])).exit).toBe(3);
    const { exit, stdout } = await runProcess(['--version']);
    expect([exit, stdout]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+\n$/)]);
  });

  it('prints one document with --json, and no colours into a pipe', async () => {
    const { stdout, stderr } = await runProcess(['policy', 'explain', '0x1', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ policy: 1, hex: '0x1' });
    expect(stderr).toBe('');
    const text = await runProcess(['policy', 'explain', '0x1'], { env: { FORCE_COLOR: '3' } });
    expect(text.stdout).toContain('this guest can be migrated to anyone');
    expect(text.stdout).not.toContain(String.fromCharCode(27));
  });

  it('loads nothing of ours for help, and only what a command needs for a command', async () => {
    for (const words of [['--help'], [], ['chain', '--help'], ['--version']]) {
      const modules = await modulesOf(...words);
      expect(modules.some((url) => url.endsWith('/dist/main.js'))).toBe(true);
      expect(modules.filter((url) => /packages\/(?!cli\/)/.test(url))).toEqual([]);
      expect(modules.length).toBeLessThan(20);
    }
    const modules = await modulesOf('policy', 'explain', '1');
    expect(modules.filter((url) => /packages\/(?!cli\/|sev\/)/.test(url))).toEqual([]);
    expect(modules.filter((url) => /fastify|koffi|zod/.test(url))).toEqual([]);
  });

  it('ends quietly when its reader has seen enough', async () => {
    const { spawnSync } = await import('node:child_process');
    const { binary } = await import('./testing/process.js');
    const { stderr, status } = spawnSync(
      'sh',
      ['-c', `"${process.execPath}" "${binary}" policy explain 1 | true`],
      { encoding: 'utf8' },
    );
    expect([status, stderr]).toEqual([0, '']);
  });
});
