import { readFile } from 'node:fs/promises';
import { connectHost, type HostMachine } from '@vouchsafe/firmware';
import {
  connectGuestOwner,
  type SoftwareVirtualMachine,
  softwareLauncher,
  softwarePlatform,
} from '@vouchsafe/host';
import { createKdsClient } from '@vouchsafe/kds';
import type { LaunchRequest } from '@vouchsafe/protocol';
import {
  concat,
  parseFirmwareFooter,
  RefusedError,
  sevCertificate,
  toHex,
  vcpuSignatureOf,
} from '@vouchsafe/sev';
import type { BootFiles } from '../boot-files.js';
import type { Narrator } from '../narration.js';
import { playRole } from '../role-process.js';
import { narratedMailbox } from '../sev/narrated-mailbox.js';

/** The hypervisor: does what it is asked, and looks at everything that passes through its hands. */
export interface HostSettings {
  readonly machineSocket: string;
  readonly ownerSocket: string;
  readonly keyService: string;
  /** Who asks the key service: the owner (A) or this host (B). */
  readonly case: 'A' | 'B';
  readonly files: BootFiles;
  readonly vcpus: number;
  readonly vcpuType: string;
}

export interface HostResult {
  readonly accepted: boolean;
  readonly console: readonly string[];
}

playRole<HostSettings>(async ({ settings, narrate, ready }): Promise<HostResult> => {
  const bare = await connectHost(settings.machineSocket);
  const machine = narratedMailbox(bare, narrate);
  const owner = connectGuestOwner(`unix:${settings.ownerSocket}`);
  ready();

  const request = await describePlatform(bare, settings, narrate);
  await narrate.message('host', 'owner', `launch request, case ${request.case}`, contentOf(request));
  try {
    const bundle = await owner.openSession(request);
    const vm = await softwareLauncher(machine).launch({
      mode: bundle.mode,
      policy: bundle.policy,
      channel: { godhCertificate: bundle.godhCertificate, session: bundle.session },
      ...(await bootImages(settings.files)),
      vcpus: settings.vcpus,
      vcpuSignature: vcpuSignatureOf(settings.vcpuType),
    });

    const measurement = await vm.launchMeasurement();
    await narrate.message('processor', 'host', 'measurement and nonce', measurement);
    const { apiMajor, apiMinor, buildId, policy } = await vm.information();
    await narrate.message('host', 'owner', 'measurement evidence', measurement);
    const evidence = { launchId: bundle.launchId, measurement, apiMajor, apiMinor, buildId, policy };
    const delivery = await owner.reportMeasurement(evidence);
    await vm.injectSecret(delivery);

    await lookAround(bare, vm, settings.files, narrate);
    const console = await runUntilBooted(vm, narrate);
    await lookAtRegisters(bare, vm, narrate);
    await vm.quit();
    return { accepted: true, console };
  } catch (error) {
    if (error instanceof RefusedError) return { accepted: false, console: [] };
    throw error;
  } finally {
    bare.close();
  }
});

async function describePlatform(
  machine: HostMachine,
  settings: HostSettings,
  narrate: Narrator,
): Promise<LaunchRequest> {
  const platform = softwarePlatform(machine);
  const { pdh, chain } = await platform.export();
  const { apiMajor, apiMinor, build: buildId } = await platform.status();
  const chipId = await platform.chipId();
  await narrate.message('processor', 'host', 'platform certificates: PDH, PEK, OCA, CEK', concat(pdh, chain));
  const common = { apiMajor, apiMinor, buildId, pdh };
  if (settings.case === 'A') return { case: 'A', ...common, certificateChain: chain, chipId };

  const client = createKdsClient({ baseUrl: settings.keyService });
  await narrate.message('host', 'key service', 'GET the CEK of this chip id', chipId);
  const cek = await client.cek(chipId, { exported: chain.slice(-sevCertificate.size) });
  await narrate.message('key service', 'host', 'CEK, signed by the ASK', cek);
  const { generation, askArk: certificateAuthority } = await client.issuerOf(cek);
  await narrate.message('key service', 'host', `ASK and ARK of ${generation}`, certificateAuthority);
  const certificateChain = concat(chain.subarray(0, chain.length - sevCertificate.size), cek);
  return { case: 'B', ...common, certificateChain, certificateAuthority };
}

function contentOf(request: LaunchRequest): Uint8Array {
  const last = request.case === 'A' ? request.chipId : request.certificateAuthority;
  return concat(request.pdh, request.certificateChain, last);
}

async function bootImages({ firmware, kernel, initrd, commandLine }: BootFiles) {
  return {
    firmware: new Uint8Array(await readFile(firmware)),
    directBoot: {
      kernel: new Uint8Array(await readFile(kernel)),
      initrd: new Uint8Array(await readFile(initrd)),
      commandLine,
    },
  };
}

/** What a curious host finds in the memory of the guest. */
async function lookAround(
  machine: HostMachine,
  vm: SoftwareVirtualMachine,
  files: BootFiles,
  narrate: Narrator,
) {
  const image = new Uint8Array(await readFile(files.firmware));
  const area = parseFirmwareFooter(image).secretArea;
  const at = async (address: number) =>
    toHex(await machine.memory.read(vm.memory.requireSystemAddress(address, 16), 16));
  const start = 0x1_0000_0000 - image.length;
  await narrate.sight('firmware in memory', 'host', `ciphertext ${await at(start)}`);
  await narrate.sight('firmware in memory', 'guest', `plain text ${toHex(image.subarray(0, 16))}`);
  if (area !== undefined) await narrate.sight('disk key', 'host', `ciphertext ${await at(area.base)}`);
  await narrate.sight('disk', 'host', 'an encrypted volume');
}

async function lookAtRegisters(machine: HostMachine, vm: SoftwareVirtualMachine, narrate: Narrator) {
  const [vmsaAddress] = vm.vmsaAddresses;
  if (vmsaAddress === undefined) {
    await narrate.sight('registers', 'host', 'in plain text at each exit: SEV without ES does not hide them');
    await narrate.sight('registers', 'guest', 'its own, unless the host changed them');
    return;
  }
  const page = toHex(await machine.memory.read(vmsaAddress, 16));
  await narrate.sight('registers', 'host', `ciphertext ${page}, and what the guest puts into the GHCB page`);
  await narrate.sight('registers', 'guest', 'its own, integrity-checked at each entry');
}

async function runUntilBooted(vm: SoftwareVirtualMachine, narrate: Narrator): Promise<string[]> {
  const lines: string[] = [];
  const end = new Promise<void>((resolve) => {
    vm.onEvent((event) => {
      if (event.type === 'console') lines.push(event.line);
      if (event.type === 'booted' || event.type === 'ended') resolve();
    });
  });
  await narrate.step('host', 'lets the guest run, and sees nothing but shared pages and exits');
  await vm.resume();
  await end;
  for (const line of lines) {
    await narrate.message('guest', 'host', `console: ${line}`, new TextEncoder().encode(line));
  }
  return lines;
}
