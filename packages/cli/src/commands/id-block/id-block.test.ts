import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBase64, toBase64, toHex } from '@vouchsafe/sev';
import { afterAll, describe, expect, it } from 'vitest';
import { describeWithVectors, jsonVector, vectorPath, vectors } from '../../../../sev/src/testing/vectors.js';
import { run, runJson } from '../../testing/run.js';

interface Signed {
  readonly idBlock: string;
  readonly idAuth: string;
  readonly qemu: string;
  readonly idKeyDigest: string;
  readonly authorKeyDigest: string | null;
}
interface Verified {
  readonly accepted: boolean;
  readonly checks: readonly { readonly id: string; readonly status: string }[];
}

const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-id-block-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, content: Uint8Array | string) => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
const failed = ({ checks }: Verified) => checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
const digest = 'a14d6383'.repeat(12);

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'secp384r1' });
const idKey = file('id.pem', privateKey.export({ type: 'sec1', format: 'pem' }));
const authorKey = join(folder, 'author.pem');

describeWithVectors('id-block, on published blocks', () => {
  const block = vectorPath('snp/idblock/virtee.id-block.bin');
  const auth = vectorPath('snp/idblock/virtee.id-auth.bin');
  const keys = {
    id: vectorPath('snp/idblock/virtee.id-key.pem'),
    author: vectorPath('snp/idblock/virtee.author-key.pem'),
  };
  const digests = {
    id: '59fb2c686dfa4fef49f38339aa775c90051c28d57383ddc3baf3b5eb4b1496df3b0dbbdcbae5fe27677a644820773fe2',
    author:
      'eed81169fb0cb5e0ec34794f128fd4e0c4a46f67c65a1adfa81fcb24bcc088c272369b7ffc3eb2b6af6a4284a1b36c5f',
  };

  it('knows the keys by their digests', async () => {
    for (const who of ['id', 'author'] as const) {
      expect((await run(['id-block', 'key-digest', keys[who]])).stdout).toBe(`${digests[who]}\n`);
      const base64 = await run(['id-block', 'key-digest', keys[who], '--output-format', 'base64']);
      expect(base64.stdout).toBe(`${Buffer.from(digests[who], 'hex').toString('base64')}\n`);
    }
  });

  it('verifies and shows it', async () => {
    const verified = await runJson<Verified>([
      ...['id-block', 'verify', block, auth, '--trusted-id-keys', keys.id, '--policy', '0x30000'],
      ...['--trusted-author-key-hashes', `${'00'.repeat(47)}01,${digests.author}`, '--min-guest-svn', '0'],
      ...['--family-id', '00'.repeat(16), '--image-id', '00'.repeat(16)],
      ...['--measurement', toBase64(vectors('snp/idblock/virtee.id-block.bin').subarray(0, 48))],
    ]);
    expect([verified.exit, verified.document.accepted]).toEqual([0, true]);
    expect(verified.document.checks.every(({ status }) => status === 'pass')).toBe(true);
    const authentic = await run(['id-block', 'verify', block, auth]);
    expect(authentic.stdout).toMatch(/^authentic: /);
    const shown = await run(['id-block', 'show', block, auth]);
    expect(shown.stdout).toContain(`ID key digest      ${digests.id}`);
    expect(shown.stdout).toMatch(/launch digest {2}a14d6383/);
    const { document } = await runJson<{ files: { kind: string }[] }>(['id-block', 'show', auth, block]);
    expect(document.files.map(({ kind }) => kind)).toEqual(['id-auth', 'id-block']);
  });

  it('computes the digest of a launch first', async () => {
    interface Case {
      readonly id: string;
      readonly expected: string;
    }
    const { expected } = jsonVector<Case[]>('snp/measure/cases.json').find(
      ({ id }) => id === 'snp-kernel-empty-f1',
    )!;
    const empty = file('empty', '');
    const { exit, document } = await runJson<Signed>([
      ...['id-block', 'create', '--id-key', keys.id, '--vcpus', '1', '--vcpu-type', 'EPYC-v4'],
      ...['--ovmf', vectorPath('snp/measure/ovmf_AmdSev_suffix.bin'), '--kernel', empty, '--initrd', empty],
      ...[
        '--snp-ovmf-hash',
        jsonVector<Case[]>('snp/measure/cases.json').find(({ id }) => id === 'ovmf-hash')!.expected,
      ],
    ]);
    expect([exit, toHex(fromBase64(document.idBlock).subarray(0, 48))]).toEqual([0, expected]);
  });

  it('makes the same block for the same digest', async () => {
    const measurement = toHex(vectors('snp/idblock/virtee.id-block.bin').subarray(0, 48));
    const { exit, document } = await runJson<Signed>([
      ...[
        'id-block',
        'create',
        '--measurement',
        measurement,
        '--id-key',
        keys.id,
        '--author-key',
        keys.author,
      ],
    ]);
    expect(exit).toBe(0);
    expect(document.idBlock).toBe(toBase64(vectors('snp/idblock/virtee.id-block.bin')));
    expect([document.idKeyDigest, document.authorKeyDigest]).toEqual([digests.id, digests.author]);
  });
});

describe('id-block', () => {
  const create = (...words: string[]) =>
    runJson<Signed>(['id-block', 'create', '--measurement', digest, '--id-key', idKey, ...words]);

  it('makes keys that others cannot read, and does not replace them', async () => {
    const made = await runJson<{ digest: string }>(['id-block', 'generate-key', authorKey]);
    expect([made.exit, statSync(authorKey).mode & 0o777]).toEqual([0, 0o600]);
    expect(made.document.digest).toBe((await run(['id-block', 'key-digest', authorKey])).stdout.trim());
    expect((await run(['id-block', 'generate-key', authorKey])).exit).toBe(3);
    expect((await run(['id-block', 'generate-key', authorKey, '--force'])).exit).toBe(0);
  });

  it('prints the properties of QEMU, with and without an author', async () => {
    const { stdout } = await run(['id-block', 'create', '--measurement', digest, '--id-key', idKey]);
    const [line, blank, id, author] = stdout.split('\n');
    expect(line).toMatch(/^id-block=[A-Za-z0-9+/]{128},id-auth=[A-Za-z0-9+/]{5462}==$/);
    expect([blank, author]).toEqual(['', '  author key digest  no author key']);
    expect(id).toMatch(/^ {2}ID key digest {6}[0-9a-f]{96}$/);
    const { document } = await create('--author-key', authorKey);
    expect(document.qemu).toBe(
      `id-block=${document.idBlock},id-auth=${document.idAuth},author-key-enabled=on`,
    );
    expect(document.authorKeyDigest).toMatch(/^[0-9a-f]{96}$/);
  });

  it('takes keys in every form, and a digest in base64', async () => {
    const { document } = await create();
    for (const [type, format] of [
      ['sec1', 'der'],
      ['pkcs8', 'pem'],
      ['pkcs8', 'der'],
    ] as const) {
      const key = file('key', privateKey.export({ type, format } as { type: 'sec1'; format: 'der' }));
      const same = await runJson<Signed>([
        ...['id-block', 'create', '--id-key', key],
        ...['--measurement', Buffer.from(digest, 'hex').toString('base64')],
      ]);
      expect([same.document.idBlock, same.document.idKeyDigest]).toEqual([
        document.idBlock,
        document.idKeyDigest,
      ]);
    }
  });

  it('creates in one place and signs in another', async () => {
    const [block, auth, again] = ['block.bin', 'auth.bin', 'again.bin'].map((name) => join(folder, name));
    const values = ['--family-id', '0a'.repeat(16), '--image-id', '0b'.repeat(16), '--guest-svn', '7'];
    await create(...values, '--policy', '0x30133', '--out', block!, '--auth-out', auth!);
    expect([readFileSync(block!).length, readFileSync(auth!).length]).toEqual([96, 4096]);
    const base64 = file('block.b64', readFileSync(block!).toString('base64'));
    const signed = await runJson<Signed>([
      ...['id-block', 'sign', base64, '--id-key', idKey, '--author-key', authorKey, '--auth-out', again!],
    ]);
    expect([signed.exit, signed.document.idBlock]).toEqual([0, readFileSync(block!).toString('base64')]);
    for (const [authentication, words] of [
      [auth!, []],
      [again!, ['--trusted-author-keys', authorKey]],
    ] as const) {
      const { exit, document } = await runJson<Verified>([
        ...['id-block', 'verify', block!, authentication, '--trusted-id-keys', idKey, ...words],
        ...['--measurement', digest, '--policy', '0x30133', '--min-guest-svn', '7'],
        ...['--family-id', '0a'.repeat(16), '--image-id', '0b'.repeat(16)],
      ]);
      expect([exit, failed(document)]).toEqual([0, []]);
    }
  });

  it('refuses a block of another key, digest, policy, version, family or image, each at its check', async () => {
    const block = join(folder, 'refused.bin');
    const auth = join(folder, 'refused-auth.bin');
    await create('--guest-svn', '7', '--out', block, '--auth-out', auth);
    const other = generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).publicKey;
    const otherKey = file('other.pem', other.export({ type: 'spki', format: 'pem' }));
    for (const [check, words] of [
      ['id-block.id-key', ['--trusted-id-keys', otherKey]],
      ['id-block.author-key', ['--trusted-author-keys', otherKey]],
      ['id-block.measurement', ['--measurement', 'ff'.repeat(48)]],
      ['id-block.policy', ['--policy', '0x20000']],
      ['id-block.guest-svn', ['--min-guest-svn', '8']],
      ['id-block.family-id', ['--family-id', 'ff'.repeat(16)]],
      ['id-block.image-id', ['--image-id', 'ff'.repeat(16)]],
    ] as const) {
      const { exit, document } = await runJson<Verified>(['id-block', 'verify', block, auth, ...words]);
      expect([exit, failed(document)]).toEqual([1, [check]]);
    }
    const changed = readFileSync(block);
    changed[0]! ^= 1;
    const forged = await runJson<Verified>(['id-block', 'verify', file('forged.bin', changed), auth]);
    expect([forged.exit, failed(forged.document)]).toEqual([1, ['id-block.signature']]);
  });

  it('makes no block that lets the host into the guest, unless allowed by name', async () => {
    for (const [policy, option] of [
      ['0xb0000', '--allow-debug'],
      ['0x70000', '--allow-migration-agent'],
    ] as const) {
      const refused = await run([
        ...['id-block', 'create', '--measurement', digest, '--id-key', idKey, '--policy', policy],
      ]);
      expect([refused.exit, refused.stdout]).toEqual([2, '']);
      expect(refused.stderr).toContain(option);
      expect((await create('--policy', policy, option)).exit).toBe(0);
    }
  });

  it('tells malformed input without naming a secret', async () => {
    const small = generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey;
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
    const publicOnly = file(
      'public.pem',
      privateKey.export({ type: 'sec1', format: 'pem' }).toString().slice(0, 100),
    );
    for (const key of [
      file('p256.pem', small.export({ type: 'sec1', format: 'pem' })),
      file('rsa.pem', rsa.export({ type: 'pkcs8', format: 'pem' })),
      file('secret.txt', 'hunter2hunter2'),
      file('empty', ''),
      publicOnly,
    ]) {
      for (const words of [
        ['id-block', 'create', '--measurement', digest, '--id-key', key],
        ['id-block', 'key-digest', key],
      ]) {
        const { exit, stdout, stderr } = await run(words);
        expect([exit, stdout], key).toEqual([2, '']);
        expect(stderr).toMatch(/^vouchsafe: /);
        expect(stderr).not.toMatch(/hunter2|^\s+at /m);
      }
    }
    const block = file('short.bin', new Uint8Array(95));
    const zeros = file('zeros.bin', new Uint8Array(96));
    for (const words of [
      ['verify', block, block],
      ['show', block],
      ['show', zeros],
      ['sign', zeros, '--id-key', idKey],
      ['create', '--measurement', 'ab', '--id-key', idKey],
      ['create', '--measurement', digest],
      ['create', '--id-key', idKey],
      ['create', '--measurement', digest, '--ovmf', block, '--id-key', idKey],
      ['create', '--measurement', digest, '--id-key', idKey, '--policy', '0'],
      ['create', '--measurement', digest, '--id-key', idKey, '--guest-svn', '-1'],
      ['create', '--measurement', digest, '--id-key', idKey, '--family-id', '00'],
    ]) {
      const { exit, stdout } = await run(['id-block', ...words]);
      expect([exit, stdout], words.join(' ')).toEqual([2, '']);
    }
    expect((await run(['id-block', 'show', join(folder, 'none')])).exit).toBe(3);
    const form = await runJson<Verified>(['id-block', 'verify', zeros, file('auth0', new Uint8Array(4096))]);
    expect([form.exit, failed(form.document)[0]]).toEqual([1, 'id-block.form']);
  });
});
