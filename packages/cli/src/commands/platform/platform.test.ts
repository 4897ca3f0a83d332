import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { run, runJson, start } from '../../testing/run.js';

const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-platform-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);
/** Naples' keys are the quickest to make. */
const software = ['--software', at('processor'), '--generation', 'naples'];
const root = ['--root', at('processor/authority/naples/ark.cert')];

interface Status {
  readonly externallyOwned: boolean;
  readonly chipId: string;
}
const status = async () => (await runJson<Status>(['platform', 'status', ...software])).document;
const ok = async (...words: string[]) => {
  const outcome = await run(words);
  expect(outcome, outcome.stderr).toMatchObject({ exit: 0, stderr: '' });
  return outcome.stdout;
};
const verify = (...more: string[]) => run(['chain', 'verify', at('sev.chain'), ...root, ...more]);

describe('platform, on a software processor', () => {
  it('exports a chain that verifies under its own root', async () => {
    await ok('platform', 'export', ...software, '--full', at('sev.chain'));
    expect(statSync(at('sev.chain')).size).toBe(10000);
    expect((await verify()).exit).toBe(0);
    await ok('platform', 'export', ...software, at('short.chain'));
    expect(readFileSync(at('short.chain'))).toEqual(readFileSync(at('sev.chain')).subarray(0, 8336));
    await ok('platform', 'export', ...software, '--unsigned', at('unsigned.chain'));
    const both = await run(['chain', 'verify', at('unsigned.chain'), at('sev.chain'), ...root]);
    expect([both.exit, both.stdout]).toEqual([0, expect.stringMatching(/^pass +chain\.cek\.exported/m)]);
    expect((await run(['chain', 'verify', at('unsigned.chain'), ...root])).exit).toBe(1);
  });

  it('keeps its identity, and its keys to its owner', async () => {
    expect((await status()).chipId).toBe((await status()).chipId);
    expect(statSync(at('processor/chip.json')).mode & 0o077).toBe(0);
    expect(
      (await run(['platform', 'status', '--software', at('processor'), '--generation', 'milan'])).exit,
    ).toBe(2);
  });

  it('is taken over by an owner, with the key here or elsewhere', async () => {
    await ok('platform', 'generate', at('owner.cert'), at('owner.key'));
    expect(statSync(at('owner.key')).mode & 0o777).toBe(0o600);
    expect((await run(['platform', 'generate', at('owner.cert'), at('owner.key')])).exit).toBe(3);

    await ok('platform', 'provision', ...software, at('owner.cert'), at('owner.key'));
    expect((await status()).externallyOwned).toBe(true);
    await ok('platform', 'export', ...software, '--full', at('sev.chain'));
    const owned = await verify('--oca', at('owner.cert'));
    expect(owned.stdout).toMatch(/^accepted: /);
    const twice = await run(['platform', 'provision', ...software, at('owner.cert'), at('owner.key')]);
    expect([twice.exit, twice.stderr]).toEqual([3, expect.stringContaining('ALREADY_OWNED')]);

    await ok('platform', 'regenerate', ...software);
    expect((await status()).externallyOwned).toBe(false);
    await ok('platform', 'csr', ...software, at('pek_csr.cert'));
    await ok(
      'platform',
      'sign',
      at('pek_csr.cert'),
      at('owner.cert'),
      at('owner.key'),
      at('pek_csr.signed.cert'),
    );
    await ok('platform', 'import', ...software, at('pek_csr.signed.cert'), at('owner.cert'));
    expect((await status()).externallyOwned).toBe(true);
  });

  it('rotates and resets', async () => {
    const exported = async () => {
      await ok('platform', 'export', ...software, '--full', at('sev.chain'));
      const bytes = readFileSync(at('sev.chain'));
      return {
        pdh: bytes.subarray(0, 2084).toString('hex'),
        pek: bytes.subarray(2084, 4168).toString('hex'),
      };
    };
    const first = await exported();
    await ok('platform', 'rotate', ...software);
    const second = await exported();
    expect([second.pdh === first.pdh, second.pek === first.pek]).toEqual([false, true]);
    await ok('platform', 'reset', ...software);
    const third = await exported();
    expect(third.pek).not.toBe(first.pek);
    expect((await status()).externallyOwned).toBe(false);
  });

  it('is known to its key service', async () => {
    const words = ['kds', 'serve', '--authority', at('processor/authority'), '--generation', 'naples'];
    const service = await start<{ url: string; root: string }>(words);
    try {
      expect(service.document.root).toBe('Vouchsafe Development, Naples');
      const { chipId } = await status();
      await ok('kds', 'fetch', at('cek.cert'), '--kds', service.document.url, '--chip-id', chipId);
      expect(readFileSync(at('cek.cert'))).toEqual(readFileSync(at('sev.chain')).subarray(6252, 8336));
      await ok('kds', 'fetch', at('ask_ark.cert'), '--kds', service.document.url, '--generation', 'naples');
      await ok('platform', 'export', ...software, '--kds', service.document.url, at('short.chain'));
      expect(
        (await run(['chain', 'verify', at('short.chain'), '--kds', service.document.url, ...root])).exit,
      ).toBe(0);
      const unknown = await run([
        'kds',
        'fetch',
        at('x.cert'),
        '--kds',
        service.document.url,
        '--chip-id',
        '00'.repeat(64),
      ]);
      expect(unknown.exit).toBe(3);
    } finally {
      expect((await service.stop()).exit).toBe(0);
    }
    const gone = await run([
      'kds',
      'fetch',
      at('x.cert'),
      '--kds',
      service.document.url,
      '--generation',
      'naples',
    ]);
    expect([gone.exit, gone.stderr]).toEqual([3, expect.not.stringMatching(/^\s+at /m)]);
  });
});

describe('platform, without one', () => {
  it('says what is missing and how to get it', async () => {
    const { exit, stderr } = await run(['platform', 'status', '--device', at('no-such-device')]);
    expect(exit).toBe(3);
    expect(stderr).toMatch(/no-such-device: there is no such device\n {2}hint: .*EPYC/);
    expect((await run(['platform', 'status', '--device', 'x', '--software', 'y'])).exit).toBe(2);
    expect((await run(['platform', 'status', '--generation', 'rome'])).exit).toBe(2);
  });

  it('never prints the owner’s key', async () => {
    await ok('platform', 'generate', at('o.cert'), at('o.key'), '--force');
    for (const words of [
      ['platform', 'sign', at('o.cert'), at('o.cert'), at('o.key'), at('out')],
      ['platform', 'sign', at('o.key'), at('o.key'), at('o.key'), at('out')],
      ['platform', 'sign', at('o.cert'), at('o.cert'), at('o.cert'), at('out')],
    ]) {
      const { exit, stdout, stderr } = await run(words);
      expect(exit).toBe(2);
      expect(stdout + stderr).not.toContain(readFileSync(at('o.key')).toString('hex').slice(20, 60));
      expect(stderr).not.toMatch(/^\s+at /m);
    }
  });
});
