import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDevelopmentAuthority } from '@vouchsafe/kds';
import {
  generateP384,
  parseCertificate,
  parseRevocationList,
  parseSnpReport,
  parseVek,
  type TcbVersion,
  toHex,
} from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import { testAuthorityKeys } from '../../../../kds/src/testing/authority-keys.js';
import { temporaryFolder } from '../../../../kds/src/testing/temporary.js';
import { describeWithVectors, vectors } from '../../../../sev/src/testing/vectors.js';
import { run, runJson, start } from '../../testing/run.js';

const tcb = { bootloader: 4, tee: 0, snp: 24, microcode: 217 };
const tcbText = 'bootloader=4,tee=0,snp=24,microcode=217';

/** `kds serve` over an authority that has endorsed one chip, and a folder to work in. */
async function served({
  chipId = new Uint8Array(64).fill(0xc5),
  of = tcb,
}: {
  chipId?: Uint8Array;
  of?: TcbVersion;
} = {}) {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  const authority = await openDevelopmentAuthority({
    folder: at('authority'),
    generation: 'milan',
    generateKeys: testAuthorityKeys,
  });
  const { publicKey } = await generateP384();
  const vcek = await authority.snp!.endorseVcek({ line: 'Milan', chipId, tcb: of, publicKey });
  const words = ['kds', 'serve', '--authority', at('authority'), '--generation', 'milan'];
  const service = await start<{ url: string; snpArk: string }>(words);
  const { url } = service.document;
  let isUp = true;
  const stop = async () => {
    if (isUp) expect((await service.stop()).exit).toBe(0);
    isUp = false;
  };
  onTestFinished(stop);
  return { at, authority, vcek, url, stop, document: service.document, chip: toHex(chipId) };
}

const read = (path: string): Uint8Array => new Uint8Array(readFileSync(path));

describe('kds serve and fetch', () => {
  it('give a chip’s VCEK, its chain and its revocation list', async () => {
    const { at, authority, vcek, url, chip, document } = await served();
    expect(read(document.snpArk)).toEqual(authority.snp!.ark);
    const milan = ['--kds', url, '--product', 'Milan'];
    const words = ['kds', 'fetch', at('vcek.der'), ...milan, '--chip-id', chip, '--tcb', tcbText];
    const fetched = await runJson<{ what: string }>(words);
    expect([fetched.exit, fetched.document.what]).toEqual([
      0,
      expect.stringMatching(/^The VCEK of Milan chip/),
    ]);
    expect(read(at('vcek.der'))).toEqual(vcek);
    for (const [key, subject] of [
      ['VCEK', 'SEV-Milan'],
      ['VLEK', 'SEV-VLEK-Milan'],
    ] as const) {
      const of = [...milan, '--key', key];
      expect((await run(['kds', 'fetch', at('chain.pem'), ...of, '--what', 'chain'])).exit).toBe(0);
      expect(readFileSync(at('chain.pem'), 'utf8').match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
      const served = await authority.snp!.findEndorsement({ what: 'chain', kind: key, line: 'Milan' });
      expect(read(at('chain.pem')), subject).toEqual(served);
      expect((await run(['kds', 'fetch', at('list.crl'), ...of, '--what', 'crl'])).exit).toBe(0);
      expect(parseRevocationList(read(at('list.crl'))).revoked).toEqual([]);
    }
  });

  it('a revocation list is fetched anew although one is kept', async () => {
    const { at, authority, url } = await served();
    const words = [
      'kds',
      'fetch',
      at('list.crl'),
      '--kds',
      url,
      '--cache',
      at('cache'),
      '--product',
      'Milan',
    ];
    expect((await run([...words, '--what', 'crl'])).exit).toBe(0);
    await authority.snp!.revoke('ASK');
    expect((await run([...words, '--what', 'crl', '--offline'])).exit).toBe(0);
    expect(parseRevocationList(read(at('list.crl'))).revoked).toHaveLength(0);
    expect((await run([...words, '--what', 'crl'])).exit).toBe(0);
    expect(parseRevocationList(read(at('list.crl'))).revoked).toHaveLength(1);
  });

  it.each([
    ['nothing to fetch', []],
    ['a product without what', ['--product', 'Milan']],
    ['a chip without its TCB', ['--product', 'Milan', '--chip-id', 'c5'.repeat(64)]],
    ['a TCB without its chip', ['--product', 'Milan', '--tcb', tcbText]],
    ['a TCB that lacks a component', ['--product', 'Milan', '--chip-id', 'c5'.repeat(64), '--tcb', 'snp=24']],
    [
      'a TCB with 256',
      ['--product', 'Milan', '--chip-id', 'c5'.repeat(64), '--tcb', `${tcbText.slice(0, -3)}256`],
    ],
    [
      'a Turin TCB for Milan',
      ['--product', 'Milan', '--chip-id', 'c5'.repeat(64), '--tcb', `fmc=1,${tcbText}`],
    ],
    ['a masked chip', ['--product', 'Milan', '--chip-id', '00'.repeat(64), '--tcb', tcbText]],
    ['half a chip id', ['--product', 'Milan', '--chip-id', 'c5'.repeat(32), '--tcb', tcbText]],
    ['a product that is none', ['--product', 'Rome', '--what', 'chain']],
    ['a TCB and no product', ['--chip-id', 'c5'.repeat(64), '--tcb', tcbText]],
    ['a product and a generation', ['--product', 'Milan', '--what', 'chain', '--generation', 'milan']],
  ])('%s is a mistake, found before anything is asked', async (_name, words) => {
    const { exit, stderr } = await run(['kds', 'fetch', 'x', '--kds', 'http://127.0.0.1:1', ...words]);
    expect([exit, stderr]).toEqual([2, expect.not.stringMatching(/^\s+at /m)]);
  });

  it('a chip that is not known is outside this command’s power', async () => {
    const { at, url } = await served();
    const words = ['--kds', url, '--product', 'Milan', '--chip-id', 'ab'.repeat(64), '--tcb', tcbText];
    const { exit, stderr } = await run(['kds', 'fetch', at('x'), ...words]);
    expect([exit, stderr]).toEqual([3, expect.stringMatching(/404/)]);
  });
});

describe('kds mirror', () => {
  it('serves on when its service is gone, to browsers too', async () => {
    const { at, vcek, url, chip, stop } = await served();
    const mirror = await start<{ url: string; upstream: string; cache: string }>([
      ...['kds', 'mirror', '--kds', url, '--cache', at('cache')],
    ]);
    onTestFinished(async () => void (await mirror.stop()));
    expect(mirror.document).toMatchObject({ upstream: url, cache: at('cache') });
    const of = ['--kds', mirror.document.url, '--product', 'Milan', '--chip-id', chip, '--tcb', tcbText];
    expect((await run(['kds', 'fetch', at('one.der'), ...of])).exit).toBe(0);
    await stop();
    expect((await run(['kds', 'fetch', at('two.der'), ...of])).exit).toBe(0);
    expect([read(at('one.der')), read(at('two.der'))]).toEqual([vcek, vcek]);
    const answer = await fetch(`${mirror.document.url}/vcek/v1/Milan/cert_chain`);
    expect([answer.status, answer.headers.get('access-control-allow-origin')]).toEqual([502, '*']);
  });

  it('wants a folder for the answers of a service of one’s own', async () => {
    const { exit, stderr } = await run(['kds', 'mirror', '--kds', 'http://127.0.0.1:1']);
    expect([exit, stderr]).toEqual([2, expect.stringMatching(/--cache/)]);
  });
});

describeWithVectors('kds, for a report', () => {
  it('carries its endorsement to a machine without a network', async () => {
    const bytes = vectors('snp/reports/milan-v3-oak.bin');
    const report = parseSnpReport(bytes);
    const { at, vcek, url, stop } = await served({ chipId: report.chipId, of: report.reportedTcb });
    writeFileSync(at('report.bin'), bytes);
    const about = ['--kds', url, '--report', at('report.bin')];
    expect((await run(['kds', 'fetch', at('vcek.der'), ...about])).exit).toBe(0);
    expect(parseVek(parseCertificate(read(at('vcek.der')))).tcb).toEqual(report.reportedTcb);
    const exported = await runJson<{ entries: string[]; missing: string[] }>([
      ...['kds', 'bundle', 'export', at('bundle.json'), ...about],
    ]);
    expect(exported.document).toMatchObject({
      entries: [
        expect.stringMatching(/^\/vcek\/v1\/Milan\/[0-9a-f]{128}\?/),
        expect.anything(),
        expect.anything(),
      ],
      missing: [],
    });
    await stop();
    const there = ['--kds', url, '--cache', at('elsewhere')];
    const imported = await runJson<{ kept: string[]; stale: string[] }>([
      ...['kds', 'bundle', 'import', at('bundle.json'), ...there],
    ]);
    expect([imported.exit, imported.document.kept.length, imported.document.stale]).toEqual([0, 3, []]);
    const words = ['kds', 'fetch', at('again.der'), ...there, '--report', at('report.bin'), '--offline'];
    expect((await run(words)).exit).toBe(0);
    expect(read(at('again.der'))).toEqual(vcek);
  });

  it('says where to get what the service does not give', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'report.bin');
    writeFileSync(file, vectors('snp/reports/milan-v3-vlek-aws.bin'));
    const { exit, stderr } = await run(['kds', 'fetch', join(folder, 'x'), '--report', file, '--offline']);
    expect([exit, stderr]).toEqual([2, expect.stringMatching(/certificate table/)]);
  });

  it('refuses a bundle that was changed, with nothing kept', async () => {
    const { at, url } = await served();
    const milan = ['--kds', url, '--product', 'Milan'];
    expect((await run(['kds', 'bundle', 'export', at('bundle.json'), ...milan])).exit).toBe(0);
    writeFileSync(
      at('bundle.json'),
      readFileSync(at('bundle.json'), 'utf8').replace('/Milan/crl', '/Genoa/crl'),
    );
    const cache = ['--kds', url, '--cache', at('cache')];
    expect((await run(['kds', 'bundle', 'import', at('bundle.json'), ...cache])).exit).toBe(2);
    const words = ['kds', 'fetch', at('x'), ...cache, '--product', 'Milan', '--what', 'chain', '--offline'];
    expect((await run(words)).exit).toBe(3);
  });
});
