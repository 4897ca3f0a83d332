import type { GuestView } from '@vouchsafe/firmware';
import { HostFault, type HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  type BootedGuest,
  channelAttestationDevice,
  openGuestChannel,
  type SnpServices,
} from '@vouchsafe/guest';
import {
  buildCertificateTable,
  buildResetVmsa,
  certificateTableGuids,
  equalBytes,
  isZero,
  openSecret,
  parseCertificateTable,
  parseSnpReport,
  snpLaunchUpdateBuffer,
  snpPageTypes,
  systemRandom,
} from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import { deferred } from '../../deferred.js';
import type { SnpLauncher } from '../../launch/launcher.js';
import { softwareLauncher } from '../../launch/software-launcher.js';
import { withMailbox } from '../../platform/mailbox.js';
import {
  guestResult,
  reportOver,
  runGuest,
  snpConfiguration,
  snpMachine,
} from '../../testing/snp-fixture.js';
import type { SoftwareSnpMachine } from '../software-machine.js';

const reportData = systemRandom(64);

/** Whether a piece of 16 bytes of the secret stands anywhere in the bytes. */
function holds(bytes: Uint8Array, secret: Uint8Array): boolean {
  for (let at = 0; at + 16 <= bytes.length; at++) {
    if (equalBytes(bytes.subarray(at, at + 16), secret.subarray(0, 16))) return true;
  }
  return false;
}

/** A host that keeps everything that it reads and writes. */
function recordingHost(host: HostMachine): { readonly host: HostMachine; readonly seen: Uint8Array[] } {
  const seen: Uint8Array[] = [];
  const { memory } = host;
  const recorded = {
    size: memory.size,
    async read(address: number, length: number) {
      const bytes = await memory.read(address, length);
      seen.push(bytes.slice());
      return bytes;
    },
    async write(address: number, bytes: Uint8Array) {
      seen.push(bytes.slice());
      await memory.write(address, bytes);
    },
  };
  const recording: HostMachine = {
    capabilities: host.capabilities,
    memory: recorded,
    reverseMap: host.reverseMap,
    submit: (...given) => host.submit(...given),
    writeBackAndInvalidate: () => host.writeBackAndInvalidate(),
    enter: (control) => host.enter(control),
  };
  return { host: recording, seen };
}

describe('the relay of guest requests', () => {
  test('carries ciphertext: neither what is asked nor what is answered is in what the host handles', async () => {
    const machine = snpMachine();
    const { host, seen } = recordingHost(machine.host);
    const { result } = await runGuest({ machine: machine.machine, host }, async (guest) => {
      const { report } = await reportOver(reportData)(guest);
      const key = await guest.attestation!.deriveKey({ root: 'VEK', fields: { measurement: true } });
      return { report, key: openSecret(key).slice() };
    });
    const { report, key } = await result;
    const everything = seen.filter((bytes) => bytes.length >= 16);
    expect(everything.length).toBeGreaterThan(50);
    const { measurement, reportId } = parseSnpReport(report);
    for (const secret of [reportData, key, measurement, reportId, report]) {
      expect(everything.some((bytes) => holds(bytes, secret))).toBe(false);
    }
    // It would have been found: the firmware's image is there in the clear.
    expect(everything.some((bytes) => holds(bytes, snpConfiguration.firmware))).toBe(true);
  });

  test('puts the certificate table beside a report, and none where the guest has no room', async () => {
    const machine = snpMachine();
    const vcek = systemRandom(2000);
    const ark = systemRandom(1500);
    const certificateTable = buildCertificateTable([
      { guid: certificateTableGuids.VCEK, bytes: vcek },
      { guid: certificateTableGuids.ARK, bytes: ark },
    ]);
    const given = await guestResult(machine, reportOver(reportData), { certificateTable });
    expect(parseCertificateTable(given.certificateTable!).map(({ bytes }) => bytes)).toEqual([vcek, ark]);
    expect((await guestResult(machine, reportOver(reportData))).certificateTable).toBeUndefined();

    // Two pages are shared with this guest: one for its lines, one for certificates.
    const small = { certificateTable: new Uint8Array(0x3000).fill(1), memory: 0x1_2000 };
    const without = await guestResult(machine, reportOver(reportData), small);
    expect(without.certificateTable).toBeUndefined();
    expect(parseSnpReport(without.report).reportData).toEqual(reportData);
  });
});

describe('further vCPUs', () => {
  /** Starts a vCPU from a state that the guest wrote, and resolves to what its program gives. */
  async function started<T>(
    snp: SnpServices,
    program: (view: GuestView) => Promise<T>,
    { apicId = 1, vmpl = 0, vmsaAddress = 0x18_0000 } = {},
  ): Promise<T> {
    const found = deferred<T>();
    await snp.startVcpu({
      apicId,
      vmpl,
      vmsaAddress,
      state: buildResetVmsa({
        cpu: 'application',
        resetAddress: 0xffff_1000,
        vcpuSignature: snpConfiguration.vcpuSignature,
        sevFeatures: 1n,
      }),
      program: async (view) => {
        await program(view).then(found.resolve, found.reject);
      },
    });
    return found.promise;
  }

  test('run what the guest says, from a state in its own memory that nobody else can write', async () => {
    const machine = snpMachine();
    const { guest, result } = await runGuest(
      machine,
      async ({ snp }) => started(snp!, async (view) => ({ vmpl: view.vmpl, rip: view.registers.rip })),
      { vcpus: 2 },
    );
    expect(await result).toEqual({ vmpl: 0, rip: 0x1000 });
    const vmsa = guest.memory.requireSystemAddress(0x18_0000, 0x1000);
    await expect(machine.host.memory.write(vmsa, new Uint8Array(16))).rejects.toBeInstanceOf(HostFault);
  });

  test('are no more than the guest was launched with', async () => {
    const refused = await guestResult(snpMachine(), async ({ snp }) =>
      started(snp!, async () => 'ran').catch((error: { code: string }) => error.code),
    );
    expect(refused).toBe('host-call');
  });

  test('need a page of the guest’s own', async () => {
    const outcome = guestResult(snpMachine(), ({ snp }) =>
      started(snp!, async () => 'ran', { vmsaAddress: 0xffff_0010 }),
    );
    await expect(outcome).rejects.toMatchObject({ code: 'unavailable', what: 'VMSA' });
  });

  test('a lower privilege level has the key that it was given, and speaks for itself alone', async () => {
    const machine = snpMachine();
    const reports = await guestResult(machine, async ({ snp, attestation }) => {
      const { lowerKeys, transport } = snp!;
      const at = (vmpl: number) => async () => {
        const channel = openGuestChannel({ transport, key: lowerKeys[0], vmpck: 1 });
        const device = channelAttestationDevice(channel);
        const own = await device.report({ reportData, vmpl });
        return own.report;
      };
      const vmpl = await started(snp!, async (view) => view.vmpl, { apicId: 0, vmpl: 1 });
      const low = await at(1)();
      const high = await attestation!.report({ reportData });
      return { vmpl, low, high: high.report };
    });
    expect(reports.vmpl).toBe(1);
    expect(parseSnpReport(reports.low).vmpl).toBe(1);
    expect(parseSnpReport(reports.high).vmpl).toBe(0);
  });
});

describe('a host that breaks its promises about memory', () => {
  /** Launches a guest, and lets `before` at the machine before the guest runs for the first time. */
  async function launchedWith(
    before: (machine: ReturnType<typeof snpMachine>, guest: SoftwareSnpMachine) => Promise<void>,
    init: (guest: BootedGuest) => Promise<unknown> = reportOver(reportData),
  ): Promise<unknown> {
    const machine = snpMachine();
    const { host } = machine;
    const launcher: SnpLauncher = {
      backend: 'software',
      async launchSnp(configuration) {
        const guest = await softwareLauncher(host).launchSnp(configuration);
        await before(machine, guest);
        return guest;
      },
    };
    const { result } = await runGuest({ machine: machine.machine, host }, init, {}, launcher);
    return result;
  }

  test('slips a page in that is validated already: the guest sees it at its first validation', async () => {
    const result = launchedWith(async ({ host }, { memory, asid, gctxAddress }) => {
      const address = memory.requireSystemAddress(0x18_0000, 0x1000);
      const page = { assigned: true, immutable: true, asid, guestAddress: 0x18_0000, size: '4K' } as const;
      expect(await host.reverseMap.update(address, page)).toBe(0);
      const buffer = snpLaunchUpdateBuffer.build({
        gctxAddress,
        page: { large: false, type: snpPageTypes.UNMEASURED, imiPage: false },
        pageAddress: BigInt(address),
      });
      await withMailbox(host, ({ run }) => run('SNP_LAUNCH_UPDATE', buffer));
    });
    await expect(result).rejects.toMatchObject({
      code: 'guest-memory',
      kind: 'validated-before',
      address: 0x18_0000,
    });
  });

  test('takes a page away that the guest has validated: the guest gives up when it touches it', async () => {
    const result = launchedWith(
      async ({ host }, guest) => {
        const address = guest.memory.requireSystemAddress(0x8000, 0x1000);
        const hypervisors = {
          assigned: false,
          immutable: false,
          asid: 0,
          guestAddress: 0,
          size: '4K',
        } as const;
        guest.onEvent((event) => {
          if (event.type === 'console') void host.reverseMap.update(address, hypervisors);
        });
      },
      async ({ print, openSecrets }) => {
        await print('ready');
        await openSecrets().catch((error: { code: string }) => {
          if (error.code !== 'secret-table-absent') throw error;
        });
      },
    );
    await expect(result).rejects.toMatchObject({ code: 'guest-fault', fault: 'page-not-validated' });
  });

  test('leads two of its addresses to one page: the guest cannot use the second', async () => {
    const machine = snpMachine();
    const real = machine.host;
    const host: HostMachine = {
      ...recordingHost(real).host,
      enter({ nestedPages, ...control }) {
        const [ram, ...others] = nestedPages;
        const piece = (guestAddress: number, from: number, length: number) => ({
          guestAddress,
          systemAddress: ram!.systemAddress + from,
          length,
        });
        const alias = [
          piece(0, 0, 0x18_1000),
          piece(0x18_1000, 0x18_0000, 0x1000),
          piece(0x18_2000, 0x18_2000, ram!.length - 0x18_2000),
        ];
        return real.enter({ ...control, nestedPages: [...alias, ...others] });
      },
    };
    const { result } = await runGuest({ machine: machine.machine, host }, reportOver(reportData));
    await expect(result).rejects.toThrow(/cannot use its memory at guest address 0x181000/);
  });

  test('offers another kernel than was measured: the guest does not boot it', async () => {
    const machine = snpMachine();
    const kernel = systemRandom(5000);
    const { host: plain } = recordingHost(machine.host);
    const host: HostMachine = {
      ...plain,
      memory: {
        ...plain.memory,
        write: (address, bytes) =>
          plain.memory.write(address, equalBytes(bytes, kernel) ? bytes.with(4999, bytes[4999]! ^ 1) : bytes),
      },
    };
    const init = async ({ files }: BootedGuest) => files?.kernel;
    const directBoot = { kernel, commandLine: 'quiet' };
    const { result } = await runGuest({ machine: machine.machine, host }, init, { directBoot });
    await expect(result).rejects.toMatchObject({ code: 'boot-refused', item: 'kernel' });
    expect(await guestResult(snpMachine(), init, { directBoot })).toEqual(kernel);
  });

  test('takes the keys’ page for itself: it has nothing of them', async () => {
    const machine = snpMachine();
    const { guest, result } = await runGuest(machine, reportOver(reportData));
    await result;
    const address = guest.memory.requireSystemAddress(0x5000, 0x1000);
    await expect(machine.host.memory.write(address, new Uint8Array(16))).rejects.toBeInstanceOf(HostFault);
    const before = await machine.host.memory.read(address, 0x1000);
    const hypervisors = { assigned: false, immutable: false, asid: 0, guestAddress: 0, size: '4K' } as const;
    expect(await machine.host.reverseMap.update(address, hypervisors)).toBe(0);
    expect(await machine.host.memory.read(address, 0x1000)).toEqual(before);
    expect(isZero(before)).toBe(false);
  });
});
