import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { verdict } from '../appraisal/appraisal.js';
import { concat, fromBase64, fromHex, toBase64, toHex } from '../bytes.js';
import { appraiseLaunchMeasurement, measureLaunch, parseLaunchMeasurement } from '../legacy/measurement.js';
import { openSecretPacket } from '../legacy/secret-packet.js';
import { openSecret } from '../secret.js';
import { changed } from '../testing/mutations.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import {
  buildFirmwareFooter,
  hashTableAreaEntry,
  resetBlockEntry,
  secretAreaEntry,
} from './firmware-footer.js';
import { calculateLaunchDigest, type LaunchDigestOptions } from './launch-digest.js';
import { parseSecretTable, readSecretTableLength, wellKnownSecretGuids } from './secret-table.js';
import { vcpuSignature, vcpuTypes } from './vcpu-types.js';

/** Debian's own interpreter: another one in PATH lacks the tool's modules. */
const tool = ['/usr/bin/python3', '/usr/bin/virt-qemu-sev-validate'] as const;

interface Case {
  readonly ovmf: string;
  readonly policy: number;
  readonly api_major: number;
  readonly api_minor: number;
  readonly build: number;
  readonly tik: string;
  readonly tek: string;
  readonly kernel_hex?: string | null;
  readonly initrd_hex?: string | null;
  readonly cmdline?: string | null;
  readonly vcpus?: number;
  readonly cpu_family?: number;
  readonly cpu_model?: number;
  readonly cpu_stepping?: number;
  readonly blob: string;
  readonly secrets?: readonly { readonly id: string; readonly hex: string }[];
  readonly expect: {
    readonly exit: number;
    readonly launch_digest?: string;
    readonly header?: string;
    readonly payload?: string;
    readonly iv?: string;
    readonly table_bytes?: number;
    readonly payload_bytes?: number;
  };
}

describeWithVectors('recorded runs of virt-qemu-sev-validate', () => {
  const { cases } = jsonVector<{ cases: Case[] }>('sev/virt-qemu-sev-validate.json');
  const named = cases.map((known, i) => [i, known.ovmf, known] as const);

  test.each(named)('%d, %s: the same digest and verdict', async (_i, ovmf, known) => {
    const options: LaunchDigestOptions = {
      mode: known.vcpus === undefined ? 'sev' : 'seves',
      firmware: vectors(`sev/ovmf/${ovmf}`),
      ...(known.kernel_hex ? { kernel: fromHex(known.kernel_hex) } : {}),
      ...(known.initrd_hex ? { initrd: fromHex(known.initrd_hex) } : {}),
      ...(known.cmdline ? { append: known.cmdline } : {}),
      ...(known.vcpus === undefined ? {} : { vcpus: known.vcpus, vcpuSignature: signatureOf(known) }),
      vmsaFpu: 'zero',
    };
    const { digest } = await calculateLaunchDigest(options);
    if (known.expect.launch_digest) expect(toHex(digest)).toBe(known.expect.launch_digest);
    const appraisal = await appraiseLaunchMeasurement({
      blob: fromBase64(known.blob),
      tik: fromHex(known.tik),
      policy: known.policy,
      platform: { apiMajor: known.api_major, apiMinor: known.api_minor, buildId: known.build },
      expectedDigests: [{ name: ovmf, digest }],
    });
    expect(verdict(appraisal).accepted).toBe(known.expect.exit === 0);
  });

  test.each(named.filter(([, , known]) => known.expect.header))(
    '%d, %s: the packet opens',
    async (_i, _ovmf, known) => {
      const { header, payload, iv, table_bytes, payload_bytes } = known.expect;
      const plaintext = await openSecretPacket({
        header: fromHex(header!),
        payload: fromHex(payload!),
        tek: fromHex(known.tek),
        tik: fromHex(known.tik),
        measurement: parseLaunchMeasurement(fromBase64(known.blob)).measurement,
        apiMajor: known.api_major,
        apiMinor: known.api_minor,
      });
      expect(toHex(fromHex(header!).slice(4, 20))).toBe(iv);
      expect(plaintext).toHaveLength(payload_bytes!);
      expect(readSecretTableLength(plaintext)).toBe(table_bytes);
      const secrets = parseSecretTable(plaintext).map(({ data }) => toHex(openSecret(data)));
      expect(secrets).toEqual(known.secrets?.map(({ hex }) => hex));
    },
  );
});

function signatureOf({ cpu_family: family, cpu_model: model, cpu_stepping: stepping }: Case): number {
  return vcpuSignature({ family: family!, model: model!, stepping: stepping! });
}

/** What one run of the tool is told: bytes become files. */
type Told = Readonly<Record<string, string | number | Uint8Array>>;

describe('virt-qemu-sev-validate as a separate process', () => {
  if (!existsSync(tool[1])) {
    test.skipIf(true)('install the package libvirt-clients-qemu', () => undefined);
    return;
  }

  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'vouchsafe-validate-'));
    chmodSync(folder, 0o700);
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function run(told: Told, ...more: string[]): { exit: number | null; output: string } {
    const options = Object.entries(told).flatMap(([name, value]) => {
      if (!(value instanceof Uint8Array)) return [`--${name}=${value}`];
      const file = join(folder, name);
      writeFileSync(file, value, { mode: 0o600 });
      return [`--${name}=${file}`];
    });
    const { status, stdout, stderr } = spawnSync(tool[0], [tool[1], ...options, ...more], {
      encoding: 'utf8',
    });
    return { exit: status, output: `${stdout}${stderr}` };
  }

  const footer = buildFirmwareFooter([
    resetBlockEntry(0x80b004),
    secretAreaEntry({ base: 0x810000, size: 0xc00 }),
    hashTableAreaEntry({ base: 0x810c00, size: 0x400 }),
  ]);
  const firmware = concat(new Uint8Array(8192 - footer.length - 32).fill(0x90), footer, new Uint8Array(32));
  const [kernel, initrd] = [1, 2].map((value) => new Uint8Array(300).fill(value)) as [Uint8Array, Uint8Array];
  const [tek, tik] = [3, 4].map((value) => new Uint8Array(16).fill(value)) as [Uint8Array, Uint8Array];
  const platform = { apiMajor: 1, apiMinor: 55, buildId: 24 };
  const milan = vcpuTypes['EPYC-Milan']!;

  /** The measurement of a launch as we compute it. */
  async function measure(policy: number, launch: LaunchDigestOptions): Promise<Uint8Array> {
    const { digest: launchDigest } = await calculateLaunchDigest(launch);
    const mnonce = new Uint8Array(16).fill(5);
    return concat(await measureLaunch({ tik, ...platform, policy, launchDigest, mnonce }), mnonce);
  }

  const common = { firmware, tik, tek, 'api-major': 1, 'api-minor': 55, 'build-id': 24 };
  const launches: readonly [string, number, LaunchDigestOptions, Told][] = [
    ['SEV', 1, { mode: 'sev', firmware }, {}],
    [
      'SEV with kernel, initrd and command line',
      1,
      { mode: 'sev', firmware, kernel, initrd, append: 'console=ttyS0' },
      { kernel, initrd, cmdline: 'console=ttyS0' },
    ],
    [
      'SEV-ES with 2 vCPUs',
      5,
      { mode: 'seves', firmware, vcpus: 2, vcpuSignature: vcpuSignature(milan), vmsaFpu: 'zero' },
      { 'num-cpus': 2, 'cpu-family': milan.family, 'cpu-model': milan.model, 'cpu-stepping': milan.stepping },
    ],
  ];

  /** The same thing, a little different. */
  function altered(name: string, value: string | number | Uint8Array): string | number | Uint8Array {
    // The last byte of an image, a key or a measurement; the tool reads a footer of the firmware before that.
    if (value instanceof Uint8Array) return changed(value, { at: value.length - 1, mask: 1 });
    if (name === 'measurement') return toBase64(changed(fromBase64(String(value)), { at: 0, mask: 1 }));
    if (name === 'policy') return Number(value) ^ 2;
    return typeof value === 'number' ? value + 1 : `${value} debug`;
  }

  test.each(launches)(
    'accepts our measurement of %s, and refuses it with each input altered',
    async (...launch) => {
      const [, policy, options, inputs] = launch;
      const told: Told = {
        ...common,
        policy,
        measurement: toBase64(await measure(policy, options)),
        ...inputs,
      };
      const accepted = run(told);
      expect(accepted.output).toContain('OK: Looks good to me');
      expect(accepted.exit).toBe(0);
      // The TEK has no part in a measurement.
      for (const [name, value] of Object.entries(told).filter(([each]) => each !== 'tek')) {
        const refused = run({ ...told, [name]: altered(name, value) });
        expect(refused.output, name).toContain('Measurement does not match');
        expect(refused.exit, name).toBe(1);
      }
    },
  );

  test.each([
    ['that fills whole blocks, which the tool pads by 16 more bytes', 24, 80],
    ['that does not', 11, 64],
  ])('we open its packet for a table %s', async (_what, length, payloadLength) => {
    const blob = await measure(1, { mode: 'sev', firmware });
    const secret = new Uint8Array(length).fill(0x6b);
    writeFileSync(join(folder, 'secret'), secret, { mode: 0o600 });
    const [header, payload] = [join(folder, 'header'), join(folder, 'payload')];
    const injected = run(
      { ...common, policy: 1, measurement: toBase64(blob) },
      `--inject-secret=luks-key:${join(folder, 'secret')}`,
      `--secret-header=${header}`,
      `--secret-payload=${payload}`,
    );
    expect(injected).toMatchObject({ exit: 0, output: expect.stringContaining('Injected 1 secrets') });
    const packet = {
      header: fromBase64(readFileSync(header, 'utf8')),
      payload: fromBase64(readFileSync(payload, 'utf8')),
    };
    expect(packet.payload).toHaveLength(payloadLength);
    const { measurement } = parseLaunchMeasurement(blob);
    const plaintext = await openSecretPacket({ ...packet, tek, tik, measurement, apiMajor: 1, apiMinor: 55 });
    const table = parseSecretTable(plaintext);
    expect(table.map(({ guid, data }) => [guid, toHex(openSecret(data))])).toEqual([
      [wellKnownSecretGuids.luksKey, toHex(secret)],
    ]);
  });
});
