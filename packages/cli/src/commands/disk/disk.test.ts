import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AttestationDevice, hasCryptsetup, serveAttestationSocket } from '@vouchsafe/guest';
import { initDataDigest } from '@vouchsafe/protocol';
import { buildCertificateTable, certificateTableGuids, UnavailableError } from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import { makeBroker, publish } from '../../../../broker/src/testing/broker.js';
import { openToEverybody, rewriteHeader } from '../../../../guest/src/testing/luks-header.js';
import { makeReport } from '../../../../sev/src/testing/reports.js';
import { run, runJson } from '../../testing/run.js';

const diskKeyGuid = '736869e5-84f0-4973-92ec-06879ce3da0b';
const initData = 'version = "0.1.0"\nalgorithm = "sha512"\n[data]\n';

interface DiskDocument {
  readonly binding: string;
  readonly wiped?: boolean;
  readonly error?: { readonly code: string };
  readonly checks?: readonly { readonly id: string; readonly status: string }[];
}

/** A folder with a volume, its key, and the place where the kernel shows injected secrets. */
async function makeDisk() {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-disk-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const at = (name: string) => join(folder, name);
  const words = ['disk', 'create', at('disk.img'), '--size', '17M', '--generate-key', at('key')];
  const { exit, document, stdout } = await runJson<DiskDocument>(words);
  expect(exit).toBe(0);
  mkdirSync(at('coco'));
  copyFileSync(at('key'), at(`coco/${diskKeyGuid}`));
  const unlock = (...more: string[]) => runJson<DiskDocument>(['disk', 'unlock', at('disk.img'), ...more]);
  return { at, stdout, binding: document.binding, unlock };
}

/** A broker that releases the volume's key to a guest of one measurement, and that guest's device on a socket. */
async function meetBroker(at: (name: string) => string) {
  const world = await makeBroker();
  await publish(world);
  await world.admin.put('/v1/policies/default', {
    policy: Buffer.from('@id("everybody")\npermit (principal, action, resource);\n').toString('base64'),
  });
  const content = readFileSync(at('key')).toString('base64');
  await world.admin.put('/v1/secrets/default/disk/root', { content });
  const address = await world.broker.listen({ host: '127.0.0.1', port: 0 });
  const { endorser } = world.silicon;
  const vcek = { guid: certificateTableGuids.VCEK, bytes: (await endorser.vek('VCEK')).raw };
  const hostData = await initDataDigest(initData);
  let measurement: Uint8Array | undefined;
  const device: AttestationDevice = {
    kind: 'software',
    report: async ({ reportData }) => ({
      report: await makeReport(endorser.vekKey, {
        fields: { vmpl: 0, hostData, reportData, ...(measurement === undefined ? {} : { measurement }) },
      }),
      certificateTable: buildCertificateTable([vcek]),
    }),
    deriveKey: async () => {
      throw new UnavailableError('device', 'it has no keys');
    },
    close: async () => undefined,
  };
  const served = await serveAttestationSocket(device, at('device'));
  onTestFinished(() => served.close());
  return {
    words: ['--key', 'kbs:///default/disk/root', '--broker', address, '--device', `socket:${at('device')}`],
    /** From now on the guest is another. */
    measureOther: () => {
      measurement = new Uint8Array(48).fill(9);
    },
  };
}

const failed = ({ checks = [] }: DiskDocument) =>
  checks.filter(({ status }) => status === 'fail').map(({ id }) => id);

const installed = await hasCryptsetup();
if (!installed) it.skipIf(true)('cryptsetup is not installed (package cryptsetup-bin)', () => undefined);

describe.runIf(installed)('disk, with cryptsetup', () => {
  it('creates a volume under a random key, which nothing prints', async () => {
    const { at, stdout, binding } = await makeDisk();
    expect(statSync(at('key'))).toMatchObject({ size: 32 });
    expect(statSync(at('key')).mode & 0o777).toBe(0o600);
    expect(statSync(at('disk.img')).size).toBe(17 * 2 ** 20);
    expect(binding).toMatch(/^[0-9a-f]{64}$/);
    const key = readFileSync(at('key'));
    for (const form of ['hex', 'base64'] as const) expect(stdout).not.toContain(key.toString(form));
    const again = ['disk', 'create', at('disk.img'), '--key', at('key')];
    expect((await run(again)).exit).toBe(3);
    expect((await run([...again, '--size', '17M'])).exit).toBe(2);
    expect((await run(['disk', 'create', at('none'), '--key', at('key')])).exit).toBe(2);
    const small = ['disk', 'create', at('small'), '--size', '1M', '--generate-key', at('small.key')];
    expect((await run(small)).exit).toBe(2);
    expect(existsSync(at('small.key'))).toBe(false);
  });

  it('encrypts an image that is there already', async () => {
    const { at } = await makeDisk();
    const content = 'the content of a root file system '.repeat(4096);
    writeFileSync(at('plain'), content);
    const words = [
      'disk',
      'create',
      at('full.img'),
      '--content',
      at('plain'),
      '--generate-key',
      at('full.key'),
    ];
    expect((await run(words)).exit).toBe(0);
    const image = readFileSync(at('full.img'));
    expect(image.length).toBeGreaterThan(32 * 2 ** 20);
    expect(image.includes('root file system')).toBe(false);
    expect((await run(['disk', 'unlock', at('full.img'), '--key', at('full.key')])).exit).toBe(0);
    expect((await run([...words.slice(0, -1), at('other.key')])).exit).toBe(2);
  });

  it('unlocks with an injected key, and wipes it', async () => {
    const { at, binding, unlock } = await makeDisk();
    const injected = ['--key', 'injected', '--folder', at('coco'), '--binding', binding];
    const kept = await unlock(...injected, '--keep');
    expect([kept.exit, kept.document.wiped]).toEqual([0, false]);
    const { exit, document } = await unlock(...injected.with(1, `injected:${diskKeyGuid.toUpperCase()}`));
    expect([exit, document]).toEqual([
      0,
      { volume: at('disk.img'), mapped: null, binding, bound: true, wiped: true },
    ]);
    expect(existsSync(at(`coco/${diskKeyGuid}`))).toBe(false);
    expect((await unlock(...injected)).exit).toBe(3);
  });

  it('unlocks with the key that a broker releases to this guest, and to no other', async () => {
    const { at, binding, unlock } = await makeDisk();
    const { words, measureOther } = await meetBroker(at);
    const good = await unlock(...words, '--binding', binding);
    expect([good.exit, good.document.binding]).toEqual([0, binding]);
    measureOther();
    const refused = await unlock(...words, '--binding', binding);
    expect([refused.exit, refused.document.error?.code]).toEqual([1, 'release-refused']);
    expect((await unlock(...words.slice(0, 2))).exit).toBe(2);
  });

  it('says which check refuses a header that the host wrote, and keeps the injected key', async () => {
    const { at, binding, unlock } = await makeDisk();
    const injected = ['--key', 'injected', '--folder', at('coco')];
    const other = await unlock(
      ...injected,
      '--binding',
      binding.replace(/^./, (digit) => (digit === '0' ? '1' : '0')),
    );
    expect([other.exit, failed(other.document)]).toEqual([1, ['disk.binding']]);
    rewriteHeader(at('disk.img'), openToEverybody);
    const open = await unlock(...injected);
    expect([open.exit, failed(open.document)]).toEqual([1, ['disk.key-slots']]);
    expect(existsSync(at(`coco/${diskKeyGuid}`))).toBe(true);
  });

  it('re-keys', async () => {
    const { at, binding, unlock } = await makeDisk();
    const rekey = (...more: string[]) =>
      runJson<DiskDocument>(['disk', 'rekey', at('disk.img'), '--key', at('key'), ...more]);
    writeFileSync(at('wrong'), 'not the key of anything');
    const wrong = await runJson<DiskDocument>([
      ...['disk', 'rekey', at('disk.img'), '--key', at('wrong'), '--generate-key', at('lost')],
    ]);
    expect([wrong.exit, wrong.document.error?.code]).toEqual([1, 'wrong-disk-key']);
    expect(existsSync(at('lost'))).toBe(false);
    const { exit, document } = await rekey('--generate-key', at('new'), '--volume-key', '--binding', binding);
    expect(exit).toBe(0);
    expect(document.binding).not.toBe(binding);
    expect((await unlock('--key', at('new'), '--binding', document.binding)).exit).toBe(0);
    expect(failed((await unlock('--key', at('new'), '--binding', binding)).document)).toEqual([
      'disk.binding',
    ]);
    const old = await unlock('--key', at('key'));
    expect([old.exit, old.document.error?.code]).toEqual([1, 'wrong-disk-key']);
    expect((await rekey('--generate-key', at('more'), '--new-key', at('new'))).exit).toBe(2);
  });
});
