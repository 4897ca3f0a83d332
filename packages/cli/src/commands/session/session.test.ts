import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBase64, hmacSha256, launchSessionBuffer, parseSevCertificate, u32le } from '@vouchsafe/sev';
import { afterAll, expect, it } from 'vitest';
import { describeWithVectors, vectorPath, vectors } from '../../../../sev/src/testing/vectors.js';
import { run, runJson } from '../../testing/run.js';

const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-session-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describeWithVectors('session create', () => {
  const leaves = ['pdh', 'pek', 'oca', 'cek'].map((name) => vectorPath(`sev/naples/${name}.cert`));
  const chain = [...leaves, ...['ask', 'ark'].map((name) => vectorPath(`sev/ca/naples/${name}.cert`))];
  const read = (name: string) => new Uint8Array(readFileSync(join(folder, name)));

  it('writes sevctl’s four files, the keys for their owner alone', async () => {
    const words = ['session', 'create', ...chain, '--policy', '0x2b', '--name', 'web', '--out', folder];
    const { exit, stdout } = await run(words);
    expect(exit).toBe(0);
    expect(stdout).toContain('The platform is genuine: AMD, Naples.');
    expect(stdout).toContain('Launch with policy=0x2b');
    const godh = parseSevCertificate(fromBase64(readFileSync(join(folder, 'web_godh.b64'), 'utf8')));
    expect([godh.usage, godh.algorithm]).toEqual(['PDH', 'ECDH-SHA256']);
    const session = launchSessionBuffer.parse(
      fromBase64(readFileSync(join(folder, 'web_session.b64'), 'utf8')),
    );
    expect(session.policyMac).toEqual(await hmacSha256(read('web_tik.bin'), u32le(0x2b)));
    for (const name of ['web_tik.bin', 'web_tek.bin']) {
      expect(read(name)).toHaveLength(16);
      expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
    }

    const before = read('web_tik.bin');
    const again = await run(words);
    expect(again.exit).toBe(3);
    expect(again.stderr).toContain('--force');
    expect(read('web_tik.bin')).toEqual(before);
    expect((await run([...words, '--force'])).exit).toBe(0);
    expect(read('web_tik.bin')).not.toEqual(before);
  });

  it('prints no key', async () => {
    const { stdout, stderr } = await run([
      'session',
      'create',
      ...chain,
      '--name',
      'quiet',
      '--out',
      folder,
      '--json',
    ]);
    for (const name of ['quiet_tik.bin', 'quiet_tek.bin']) {
      for (const encoding of ['hex', 'base64'] as const) {
        expect(stdout + stderr).not.toContain(Buffer.from(read(name)).toString(encoding));
      }
    }
  });

  it('makes none for a platform that it cannot verify, unless told to', async () => {
    const words = ['session', 'create', leaves[0]!, '--name', 'bad', '--out', folder];
    const { exit, stderr } = await run(words);
    expect(exit).toBe(1);
    expect(stderr).toMatch(/^refused: platform certificate chain/);
    const altered = vectors('sev/naples/pek.cert');
    altered[0x61c + 8]! ^= 1;
    writeFileSync(join(folder, 'pek.cert'), altered);
    const swapped = await runJson<{ error: { code: string }; checks: unknown[] }>([
      ...['session', 'create', ...chain.with(1, join(folder, 'pek.cert'))],
      ...['--name', 'bad', '--out', folder],
    ]);
    expect([swapped.exit, swapped.document.error.code]).toEqual([1, 'refused']);
    expect(() => statSync(join(folder, 'bad_tik.bin'))).toThrow();
    const allowed = await run([...words, '--allow-unverified']);
    expect(allowed.exit).toBe(0);
    expect(allowed.stdout).toContain('was not verified');
  });

  it('wants a policy without debugging, unless told otherwise', async () => {
    const words = ['session', 'create', ...chain, '--policy', '0', '--name', 'debug', '--out', folder];
    const { exit, stderr } = await run(words);
    expect(exit).toBe(2);
    expect(stderr).toContain('--allow-debug');
    const allowed = await run([...words, '--allow-debug']);
    expect(allowed.exit).toBe(0);
    expect(allowed.stdout).toMatch(/NODBG +no +open/);
  });
});
