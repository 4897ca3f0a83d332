import { join } from 'node:path';
import { createSoftwareMachine, machineProfiles, manufactureChip } from '@vouchsafe/firmware';
import {
  buildTcbVersion,
  calculateSnpLaunchDigest,
  createIdBlock,
  generateP384,
  InvalidArgumentError,
  openSecret,
  parseCertificateTable,
  parseSnpReport,
  systemRandom,
  toHex,
  UnavailableError,
} from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import { runGuest, snpConfiguration } from '../../../host/src/testing/snp-fixture.js';
import type { BootedGuest } from '../firmware/program.js';
import { channelAttestationDevice } from '../snp/channel-device.js';
import { openGuestChannel } from '../snp/guest-channel.js';
import { ScriptedDriver } from '../testing/scripted-driver.js';
import { hostOf, ScriptedFirmware, scriptedCertificateTable } from '../testing/scripted-firmware.js';
import { temporaryFolder } from '../testing/temporary.js';
import { TsmModel } from '../testing/tsm-model.js';
import { type AttestationDevice, type DerivedKeyRequest, RequestRefusedError } from './attestation-device.js';
import { configfsTsmDevice } from './configfs-tsm.js';
import { serveAttestationFolder } from './served/served-folder.js';
import { serveAttestationSocket } from './served/served-socket.js';
import { sevGuestDevice } from './sev-guest-device.js';
import { socketAttestationDevice } from './socket-device.js';

/** A guest that the suite asks for: of security version 3, on one chip, of one launch, unless it says otherwise. */
interface TestGuest {
  readonly otherChip?: boolean;
  readonly otherLaunch?: boolean;
  /** The host's certificate table. */
  readonly table?: Uint8Array;
}

interface Backend {
  readonly name: string;
  readonly kind: AttestationDevice['kind'];
  readonly hasKeys: boolean;
  /** The committed TCB version. */
  readonly tcb: bigint;
  open(guest?: TestGuest): Promise<AttestationDevice>;
}

function channelOf({ otherChip = false, otherLaunch = false, table }: TestGuest = {}) {
  const guest = {
    ...(otherChip ? { chip: 2 } : {}),
    ...(otherLaunch ? { measurement: new Uint8Array(48) } : {}),
  };
  const firmware = new ScriptedFirmware(guest);
  return openGuestChannel({
    transport: hostOf(firmware, undefined, table),
    key: firmware.key(0),
    vmpck: 0,
  });
}

const scripted = (guest?: TestGuest) => channelAttestationDevice(channelOf(guest));
const scriptedTcb = 0xd918_0000_0000_0004n;

const chips = [1, 2].map(() => manufactureChip({ random: systemRandom, generation: 'milan' }));
const machineTcb = machineProfiles.milan.snp!.currentTcb;
const idKey = generateP384();

/** The device of a guest that runs in the software machine, for as long as the test does. */
async function inSoftwareMachine({
  otherChip = false,
  otherLaunch = false,
  table = scriptedCertificateTable,
}: TestGuest = {}): Promise<AttestationDevice> {
  const machine = createSoftwareMachine({
    chip: chips[otherChip ? 1 : 0]!,
    random: systemRandom,
    memory: 16 * 1024 * 1024,
  });
  onTestFinished(() => machine.close());
  const launch = {
    ...snpConfiguration,
    directBoot: { kernel: new Uint8Array(100), commandLine: otherLaunch ? 'other' : 'usual' },
  };
  const { directBoot, ...configuration } = launch;
  const { digest } = await calculateSnpLaunchDigest({
    ...configuration,
    kernel: directBoot.kernel,
    append: directBoot.commandLine,
  });
  const signed = await createIdBlock({ launchDigest: digest, guestSvn: 3, idKey: await idKey });
  const idBlock = { block: signed.idBlock, authentication: signed.idAuthentication };
  const over = new Promise<void>((resolve) => onTestFinished(() => resolve()));
  const certificates = table.length === 0 ? {} : { certificateTable: table };
  return new Promise((resolve, reject) => {
    const init = ({ attestation }: BootedGuest) => {
      resolve(attestation!);
      return over;
    };
    const running = runGuest({ machine, host: machine.host }, init, { directBoot, idBlock, ...certificates });
    running.catch(reject);
  });
}

const backends: readonly Backend[] = [
  {
    name: 'guest messages',
    kind: 'software',
    hasKeys: true,
    tcb: scriptedTcb,
    open: async (guest) => scripted(guest),
  },
  {
    name: 'the software machine',
    kind: 'software',
    hasKeys: true,
    tcb: wordOf(buildTcbVersion(machineTcb, 'milan')),
    open: inSoftwareMachine,
  },
  {
    name: 'configfs-tsm, as linux has it',
    kind: 'configfs-tsm',
    hasKeys: false,
    tcb: scriptedTcb,
    open: async (guest) => configfsTsmDevice({ files: new TsmModel(scripted(guest)) }),
  },
  {
    name: 'configfs-tsm, a served folder',
    kind: 'configfs-tsm',
    hasKeys: false,
    tcb: scriptedTcb,
    async open(guest) {
      const folder = join(temporaryFolder(), 'report');
      const served = await serveAttestationFolder(scripted(guest), folder);
      onTestFinished(() => served.close());
      return configfsTsmDevice({ folder });
    },
  },
  {
    name: 'the sev-guest driver',
    kind: 'sev-guest',
    hasKeys: true,
    tcb: scriptedTcb,
    open: async (guest) => sevGuestDevice({ open: async () => new ScriptedDriver(channelOf(guest)) }),
  },
  {
    name: 'a socket',
    kind: 'socket',
    hasKeys: true,
    tcb: scriptedTcb,
    async open(guest) {
      const path = join(temporaryFolder(), 'device.socket');
      const served = await serveAttestationSocket(scripted(guest), path);
      onTestFinished(() => served.close());
      return socketAttestationDevice({ path });
    },
  },
];

function wordOf(bytes: Uint8Array): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
}

const reportData = Uint8Array.from({ length: 64 }, (_, i) => 255 - i);
const keyRequest: DerivedKeyRequest = { root: 'VEK', fields: { measurement: true } };

async function opened(backend: Backend, guest?: TestGuest): Promise<AttestationDevice> {
  const device = await backend.open(guest);
  onTestFinished(() => device.close());
  return device;
}

async function keyOf(device: AttestationDevice, request: DerivedKeyRequest): Promise<string> {
  const key = await device.deriveKey(request);
  try {
    return toHex(openSecret(key));
  } finally {
    key.zero();
  }
}

describe.each(backends.map((backend) => [backend.name, backend] as const))(
  'reports from %s',
  (_name, backend) => {
    it('carry the data, the caller’s level, and the host’s certificates', async () => {
      const device = await opened(backend);
      expect(device.kind).toBe(backend.kind);
      const { report, certificateTable = new Uint8Array() } = await device.report({ reportData });
      expect(report.length).toBe(1184);
      expect(parseSnpReport(report)).toMatchObject({ reportData, vmpl: 0 });
      expect(certificateTable).toEqual(scriptedCertificateTable);
      expect(parseCertificateTable(certificateTable).map(({ kind }) => kind)).toEqual(['ARK', 'ASK', 'VCEK']);
    });

    it('come without certificates where the host gives none', async () => {
      const device = await opened(backend, { table: new Uint8Array() });
      const evidence = await device.report({ reportData });
      expect(Object.keys(evidence)).toEqual(['report']);
    });

    it('name the level that is asked for', async () => {
      const device = await opened(backend);
      for (const vmpl of [0, 3]) {
        const { report } = await device.report({ reportData, vmpl });
        expect(parseSnpReport(report).vmpl).toBe(vmpl);
      }
    });

    it('asked for at the same time are not mixed up', async () => {
      const device = await opened(backend);
      const data = [1, 2, 3].map((seed) => new Uint8Array(64).fill(seed));
      const made = await Promise.all(data.map((each) => device.report({ reportData: each })));
      expect(made.map(({ report }) => parseSnpReport(report).reportData)).toEqual(data);
    });

    it.each<[string, { reportData: Uint8Array; vmpl?: number }]>([
      ['too little data', { reportData: new Uint8Array(63) }],
      ['too much data', { reportData: new Uint8Array(65) }],
      ['a level that does not exist', { reportData, vmpl: 4 }],
      ['a level between two', { reportData, vmpl: 0.5 }],
    ])('are not asked for with %s', async (_what, request) => {
      const device = await opened(backend);
      await expect(device.report(request)).rejects.toThrow(InvalidArgumentError);
      await device.report({ reportData });
    });

    it('end with the device', async () => {
      const device = await opened(backend);
      await device.report({ reportData });
      await device.close();
      await device.close();
      await expect(device.report({ reportData })).rejects.toThrow(UnavailableError);
    });
  },
);

const withKeys = backends.filter(({ hasKeys }) => hasKeys).map((backend) => [backend.name, backend] as const);
const withoutKeys = backends
  .filter(({ hasKeys }) => !hasKeys)
  .map((backend) => [backend.name, backend] as const);

describe.each(withKeys)('derived keys from %s', (_name, backend) => {
  it('are the same for the same request, and others for others', async () => {
    const device = await opened(backend);
    const keys = [
      await keyOf(device, keyRequest),
      await keyOf(device, { ...keyRequest, vmpl: 1 }),
      await keyOf(device, { ...keyRequest, root: 'VMRK' }),
      await keyOf(device, { ...keyRequest, fields: {} }),
      await keyOf(device, { ...keyRequest, fields: { measurement: true, guestSvn: true }, guestSvn: 2 }),
      await keyOf(device, { ...keyRequest, fields: { measurement: true, guestSvn: true }, guestSvn: 3 }),
      await keyOf(device, {
        ...keyRequest,
        fields: { tcbVersion: true },
        tcbVersion: 0xd918_0000_0000_0004n,
      }),
      await keyOf(device, { ...keyRequest, fields: { tcbVersion: true }, tcbVersion: 4n }),
    ];
    expect(new Set(keys).size).toBe(keys.length);
    expect(await keyOf(device, { ...keyRequest, keySelection: 'VLEK-or-VCEK', vmpl: 0 })).toBe(keys[0]);
  });

  it('are the same when the guest is started again', async () => {
    expect(await keyOf(await opened(backend), keyRequest)).toBe(
      await keyOf(await backend.open(), keyRequest),
    );
  });

  it('are others for another guest, and on another chip', async () => {
    const [same, guest, chip] = await Promise.all(
      [{}, { otherLaunch: true }, { otherChip: true }].map(async (each) =>
        keyOf(await opened(backend, each), keyRequest),
      ),
    );
    expect(new Set([same, guest, chip]).size).toBe(3);
  });

  it.each<[string, Partial<DerivedKeyRequest>, number]>([
    ['a security version above the guest’s', { guestSvn: 4 }, 0x16],
    ['a TCB version above the committed one', { tcbVersion: backend.tcb + (1n << 56n) }, 0x16],
    ['a VLEK that is not loaded', { keySelection: 'VLEK' }, 0x27],
  ])('are refused by the firmware for %s', async (_what, change, status) => {
    const device = await opened(backend);
    const refusal = device.deriveKey({ ...keyRequest, ...change });
    await expect(refusal).rejects.toThrow(RequestRefusedError);
    await expect(refusal).rejects.toMatchObject({ status });
    // The exchange took place: the device goes on.
    await keyOf(device, keyRequest);
  });

  it.each<[string, Partial<DerivedKeyRequest>]>([
    ['a level that does not exist', { vmpl: -1 }],
    ['a security version that is too big', { guestSvn: 2 ** 32 }],
    ['a TCB version that is too big', { tcbVersion: 1n << 64n }],
    ['a negative vector', { launchMitigationVector: -1n }],
  ])('are not asked for with %s', async (_what, change) => {
    const device = await opened(backend);
    await expect(device.deriveKey({ ...keyRequest, ...change })).rejects.toThrow(InvalidArgumentError);
  });

  it('end with the device', async () => {
    const device = await opened(backend);
    await device.close();
    await expect(device.deriveKey(keyRequest)).rejects.toThrow(UnavailableError);
  });
});

it.each(withoutKeys)('%s has no keys, and says where there are', async (_name, backend) => {
  const device = await opened(backend);
  await expect(device.deriveKey(keyRequest)).rejects.toMatchObject({
    code: 'unavailable',
    hint: expect.stringContaining('/dev/sev-guest'),
  });
});
