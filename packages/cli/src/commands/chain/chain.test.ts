import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zipSync } from 'fflate';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  endorse,
  generateCaKey,
  generatePlatformKeys,
  makeAuthority,
  makePlatform,
} from '../../../../sev/src/testing/development-platform.js';
import { describeWithVectors, jsonVector, vectorPath, vectors } from '../../../../sev/src/testing/vectors.js';
import { run, runJson } from '../../testing/run.js';

interface Document {
  readonly accepted: boolean;
  readonly root: { readonly name: string; readonly kind: string } | null;
  readonly checks: readonly { readonly id: string; readonly status: string }[];
}

const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-chain-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, bytes: Uint8Array | string) => {
  writeFileSync(join(folder, name), bytes);
  return join(folder, name);
};

describeWithVectors('chain, on the real Naples platform', () => {
  const leaves = ['pdh', 'pek', 'oca', 'cek'].map((name) => vectorPath(`sev/naples/${name}.cert`));
  const authorities = ['ask', 'ark'].map((name) => vectorPath(`sev/ca/naples/${name}.cert`));

  it('accepts it, in separate files, in one, in a zip and in base64', async () => {
    const all = [
      ...leaves.map((_, i) => vectors(`sev/naples/${['pdh', 'pek', 'oca', 'cek'][i]}.cert`)),
      vectors('sev/ca/naples/ask.cert'),
      vectors('sev/ca/naples/ark.cert'),
    ];
    const whole = Buffer.concat(all);
    const zip = zipSync({
      ...Object.fromEntries(
        ['pdh', 'pek', 'oca', 'cek', 'ask', 'ark'].map((name, i) => [`${name}.cert`, all[i]!]),
      ),
      'readme.txt': new TextEncoder().encode('not a certificate'),
    });
    const packagings = [
      [...leaves, ...authorities],
      [file('whole.chain', whole)],
      [file('whole.b64', whole.toString('base64'))],
      [file('certs_export.zip', zip)],
      [...leaves, '--ca', file('ask_ark.cert', Buffer.concat(all.slice(4)))],
    ];
    for (const words of packagings) {
      const { exit, document } = await runJson<Document>(['chain', 'verify', ...words]);
      expect([exit, document.accepted, document.root?.name]).toEqual([0, true, 'AMD, Naples']);
      expect(document.checks.every(({ status }) => status !== 'fail')).toBe(true);
    }
    const shown = await run(['chain', 'verify', ...leaves, ...authorities]);
    expect(shown.stdout).toMatch(/^authentic: platform certificate chain\n {2}root: AMD, Naples\n/);
  });

  it('refuses every mutation, with the check that failed', async () => {
    const { cases } = jsonVector<{ cases: { file: string; offset: number; xor: number }[] }>(
      'sev/naples/mutations.json',
    );
    expect(cases.length).toBeGreaterThan(5);
    for (const { file: name, offset, xor } of cases) {
      const changed = vectors(`sev/naples/${name}`);
      changed[offset]! ^= xor;
      const path = file(name, changed);
      const words = leaves.map((leaf) => (leaf.endsWith(name) ? path : leaf));
      const { exit, stdout } = await run(['chain', 'verify', ...words, ...authorities]);
      expect(exit, `${name} ${offset}`).toBe(1);
      expect(stdout).toMatch(/^refused: platform certificate.*\n\n {2}failed: /);
    }
  });

  it('says what is missing, once', async () => {
    const { exit, stdout } = await run(['chain', 'verify', ...leaves, authorities[0]!]);
    expect(exit).toBe(1);
    expect(stdout.match(/what to do +get ASK and ARK/g)).toHaveLength(1);
    expect(stdout).toContain('fails as well');
  });

  it('shows it as sevctl does, and field by field', async () => {
    const { certificates } = jsonVector<{ certificates: Record<string, { body_sha256: string }> }>(
      'sev/naples/expected.json',
    );
    const { stdout } = await run(['chain', 'show', ...leaves]);
    expect(stdout).toBe(
      [
        `PDH EP384 D256 ${certificates['pdh']!.body_sha256}`,
        `PEK EP384 E256 ${certificates['pek']!.body_sha256}`,
        `OCA EP384 E256 ${certificates['oca']!.body_sha256}`,
        `CEK EP384 E256 ${certificates['cek']!.body_sha256}`,
        '',
      ].join('\n'),
    );
    const fields = await run(['chain', 'show', leaves[1]!, '--fields']);
    expect(fields.stdout).toMatch(/0x414 +signature1\.usage +OCA/);
  });

  it('tells malformed input from a refusal', async () => {
    const cut = file('cut.cert', vectors('sev/naples/pek.cert').subarray(0, 2000));
    const text = file('text.cert', 'this is no certificate');
    const zip = file('broken.zip', Uint8Array.of(0x50, 0x4b, 0x03, 0x04, 1, 2, 3));
    const empty = file('empty.zip', zipSync({ 'a.txt': new Uint8Array(3) }));
    for (const path of [cut, text, zip, empty, vectorPath('sev/naples/ark.cert.bad')]) {
      const { exit, stdout, stderr } = await run(['chain', 'verify', path]);
      expect([exit, stdout], path).toEqual([2, '']);
      expect(stderr).toMatch(/^vouchsafe: /);
      expect(stderr).not.toMatch(/^\s+at /m);
    }
    expect((await run(['chain', 'verify', join(folder, 'none')])).exit).toBe(3);
    expect(
      (await run(['chain', 'verify', leaves[0]!, leaves[0]!, '--minimum-api', '1.x', ...authorities])).exit,
    ).toBe(2);
  });
});

describe('chain, on a software platform', () => {
  const keys = { ark: generateCaKey(2048), ask: generateCaKey(2048) };
  let chain: string;
  let ark: string;
  let oca: string;

  beforeAll(async () => {
    const authority = await makeAuthority('naples', keys.ark, keys.ask);
    const platform = await makePlatform(authority, await generatePlatformKeys());
    expect(endorse(authority, platform.exportedCek.raw)).toHaveLength(2084);
    const { pdh, pek, cek, ask } = platform;
    chain = file(
      'software.chain',
      Buffer.concat([pdh, pek, platform.oca, cek, ask, platform.ark].map(({ raw }) => raw)),
    );
    ark = file('development-ark.cert', platform.ark.raw);
    oca = file('software-oca.cert', platform.oca.raw);
  });

  it('is refused under AMD’s roots, and accepted under its own, by name', async () => {
    const refused = await runJson<Document>(['chain', 'verify', chain]);
    expect([refused.exit, refused.document.root]).toEqual([1, null]);
    expect(refused.document.checks.filter(({ status }) => status === 'fail').map(({ id }) => id)).toContain(
      'chain.ark.root',
    );
    const accepted = await runJson<Document>(['chain', 'verify', chain, '--root', ark, '--oca', oca]);
    expect([accepted.exit, accepted.document.root]).toMatchObject([
      0,
      { name: 'Vouchsafe Development, Naples', kind: 'development' },
    ]);
    const shown = await run(['chain', 'verify', chain, '--root', ark, '--oca', oca]);
    expect(shown.stdout).toMatch(
      /^accepted: .*\n {2}root: Vouchsafe Development, Naples \(a development root/,
    );
  });

  it('does not take AMD’s root for a development root', async () => {
    const { exit, stderr } = await run(['chain', 'verify', chain, '--root', chain]);
    expect(exit).toBe(2);
    expect(stderr).toContain(chain);
  });
});
