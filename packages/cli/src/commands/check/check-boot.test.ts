import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { buildGuestFirmware, hasCryptsetup } from '@vouchsafe/guest';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openToEverybody, rewriteHeader } from '../../../../guest/src/testing/luks-header.js';
import { run, runJson } from '../../testing/run.js';
import { readInitrdPaths } from './cpio-names.js';

/** A cpio archive (“newc”) of empty files. */
function cpio(...paths: string[]): Buffer {
  const parts = [...paths, 'TRAILER!!!'].map((path) => {
    const fields = [1, 0o100644, 0, 0, 1, 0, 0, 0, 0, 0, 0, path.length + 1, 0];
    const head = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${path}\0`;
    return Buffer.concat([Buffer.from(head), Buffer.alloc(-head.length & 3)]);
  });
  return Buffer.concat(parts);
}

interface BootJson {
  readonly open: string[];
  readonly pieces: { id: string; state: string; lets?: string; hint?: string }[];
}

/** The demo's machine: a measured kernel whose initrd asks a broker for the key of a bound, encrypted disk. */
async function makeMachine() {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-check-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const at = (name: string) => join(folder, name);
  writeFileSync(at('firmware.fd'), buildGuestFirmware());
  writeFileSync(at('vmlinuz'), 'a kernel');
  writeFileSync(at('initrd'), cpio('init', 'lib/vouchsafe/vouchsafe.mjs'));
  const made = await runJson<{ binding: string }>([
    ...['disk', 'create', at('disk.img'), '--size', '17M', '--generate-key', at('key')],
  ]);
  expect(made.exit).toBe(0);
  const { binding } = made.document;
  const parameters: Record<string, string> = {
    console: 'ttyS0',
    'vouchsafe.broker': 'https://broker.example',
    'vouchsafe.fingerprint': 'ab'.repeat(32),
    'vouchsafe.key': 'kbs:///default/disk/root',
    'vouchsafe.binding': binding,
  };
  interface Changes {
    readonly options?: readonly string[];
    readonly parameters?: Record<string, string>;
    readonly without?: string;
    readonly words?: string;
    readonly mode?: string;
    readonly policy?: string;
    readonly initrd?: string;
    readonly firmware?: string;
    readonly disk?: string;
  }
  const check = (changes: Changes = {}) => {
    const { [changes.without ?? '']: _, ...rest } = { ...parameters, ...changes.parameters };
    const append = [...Object.entries(rest).map(([name, value]) => `${name}=${value}`), changes.words ?? ''];
    return runJson<BootJson>([
      ...['check', 'boot', '--mode', changes.mode ?? 'snp', '--policy', changes.policy ?? '0x30000'],
      ...['--firmware', changes.firmware ?? at('firmware.fd'), '--kernel', at('vmlinuz')],
      ...['--initrd', changes.initrd ?? at('initrd'), '--append', append.join(' ').trim()],
      ...['--disk', changes.disk ?? at('disk.img'), ...(changes.options ?? [])],
    ]);
  };
  return { at, check, parameters };
}

const installed = await hasCryptsetup();
if (!installed) it.skipIf(true)('cryptsetup is not installed (package cryptsetup-bin)', () => undefined);

describe.runIf(installed)('check boot', () => {
  it('finds no open piece in a machine that attests for its disk, whatever its generation', async () => {
    const { check } = await makeMachine();
    const snp = await check();
    expect([snp.exit, snp.document.open]).toEqual([0, []]);
    expect(Object.fromEntries(snp.document.pieces.map(({ id, state }) => [id, state]))).toEqual({
      policy: 'measured',
      firmware: 'measured',
      variables: 'absent',
      kernel: 'measured',
      initrd: 'measured',
      'command-line': 'measured',
      disk: 'encrypted',
      'disk-binding': 'measured',
      'disk-key': 'gated',
      broker: 'measured',
    });
    for (const [mode, policy] of [
      ['sev', '0xb'],
      ['seves', '0xf'],
    ] as const) {
      const legacy = await check({ mode, policy, parameters: { 'vouchsafe.key': 'injected' } });
      expect([legacy.exit, legacy.document.open]).toEqual([0, []]);
    }
  });

  it('names exactly the piece that was opened, and what that lets the host do', async () => {
    const { at, check } = await makeMachine();
    writeFileSync(at('with-key'), gzipSync(cpio('init', 'cryptroot/keyfiles/root.key')));
    writeFileSync(at('plain.img'), Buffer.alloc(1 << 20));
    const opened: [string, Parameters<typeof check>[0]][] = [
      ['policy', { policy: '0xb0000' }],
      ['policy', { mode: 'seves', policy: '0xe', parameters: { 'vouchsafe.key': 'injected' } }],
      ['variables', { options: ['--variables'] }],
      ['shell', { words: 'init=/bin/sh' }],
      ['shell', { words: 'rd.break' }],
      ['disk', { disk: at('plain.img') }],
      ['disk-binding', { without: 'vouchsafe.binding' }],
      ['disk-binding', { parameters: { 'vouchsafe.binding': 'cd'.repeat(32) } }],
      ['disk-key', { initrd: at('with-key') }],
      ['disk-key', { without: 'vouchsafe.key' }],
      ['disk-key', { without: 'vouchsafe.key', options: ['--disk-key', 'typed'] }],
      ['disk-key', { parameters: { 'vouchsafe.key': 'injected' } }],
      ['broker', { without: 'vouchsafe.fingerprint' }],
      ['broker', { without: 'vouchsafe.broker' }],
      ['init-data', { options: ['--init-data', 'unbound'] }],
    ];
    for (const [id, changes] of opened) {
      const { exit, document } = await check(changes);
      expect([exit, document.open], JSON.stringify(changes)).toEqual([1, [id]]);
      const found = document.pieces.find((each) => each.id === id);
      expect([found?.lets, found?.hint].every((text) => (text ?? '').length > 20)).toBe(true);
    }
  });

  it('counts a dm-verity root hash, an authority in the initrd and bound init-data as measured', async () => {
    const { at, check } = await makeMachine();
    writeFileSync(at('plain.img'), Buffer.alloc(1 << 20));
    writeFileSync(at('with-ca'), cpio('init', 'etc/vouchsafe/ca.pem'));
    for (const changes of [
      { disk: at('plain.img'), words: `roothash=${'ef'.repeat(32)}` },
      { without: 'vouchsafe.fingerprint', initrd: at('with-ca') },
      { options: ['--init-data', 'bound'] },
    ])
      expect((await check(changes)).document.open).toEqual([]);
  });

  it('says that nothing is measured but the firmware where the launch has no kernel hashes', async () => {
    const { at, check } = await makeMachine();
    const pieces = ['kernel', 'initrd', 'command-line', 'disk-binding', 'broker'];
    expect((await check({ options: ['--kernel-hashes', 'off'] })).document.open).toEqual(pieces);
    writeFileSync(at('other.fd'), Buffer.alloc(65_536, 0xff));
    expect((await check({ firmware: at('other.fd') })).document.open).toEqual(pieces);
  });

  it('says so of a disk whose header lets the host in', async () => {
    const { at, check } = await makeMachine();
    rewriteHeader(at('disk.img'), openToEverybody);
    expect((await check()).document.open).toEqual(['disk']);
  });

  it('knows firmware that carries its boot loader, and a boot loader on a disk', async () => {
    const { at } = await makeMachine();
    const words = (...more: string[]) => [
      ...['check', 'boot', '--mode', 'sev', '--policy', '0xb', '--firmware', at('firmware.fd')],
      ...['--disk', at('disk.img'), '--disk-key', 'injected', ...more],
    ];
    const carried = await runJson<BootJson>(words('--boot-loader', 'firmware'));
    expect(carried.document.open).toEqual(['disk-binding']);
    expect((await runJson<BootJson>(words())).document.open).toEqual(['boot-loader', 'disk-binding']);
    const { exit, stdout } = await run(words());
    expect(exit).toBe(1);
    expect(stdout).toContain('lets the host');
    expect(stdout).toContain('2 of ');
  });
});

describe('the paths in an initrd', () => {
  it('are those of all its archives, plain and in gzip', () => {
    const both = Buffer.concat([cpio('early'), Buffer.alloc(512), gzipSync(cpio('init', 'bin/sh'))]);
    expect(readInitrdPaths(both)).toEqual({ paths: ['early', 'init', 'bin/sh'], unread: false });
  });

  it('are said to be unread where they are', () => {
    const packed = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0]);
    expect(readInitrdPaths(Buffer.concat([cpio('early'), packed]))).toEqual({
      paths: ['early'],
      unread: true,
    });
    for (const bytes of [packed, Buffer.alloc(0), Buffer.from('070701'), gzipSync(cpio('x')).subarray(0, 30)])
      expect(readInitrdPaths(bytes)).toEqual({ paths: [], unread: true });
    const cut = cpio('init').subarray(0, 60);
    expect(readInitrdPaths(cut).unread).toBe(true);
  });
});
