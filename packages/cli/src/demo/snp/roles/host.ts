import { readFile } from 'node:fs/promises';
import { connectHost, HostFault, type HostMachine, type RemoteHostMachine } from '@vouchsafe/firmware';
import {
  FirmwareCommandError,
  type SoftwareSnpMachine,
  softwareLauncher,
  softwarePlatform,
} from '@vouchsafe/host';
import {
  buildTcbVersion,
  createIdBlock,
  generateP384,
  type TcbVersion,
  toHex,
  vcpuSignatureOf,
} from '@vouchsafe/sev';
import type { BootFiles } from '../../boot-files.js';
import type { Narrator } from '../../narration.js';
import { playRole } from '../../role-process.js';
import { certificatesOf, runUntilBooted } from '../launch-steps.js';
import { narratedSnpMailbox } from '../narrated-mailbox.js';
import { type Release, snpGuest } from '../release.js';
import type { Ending } from '../restarts.js';

/** The hypervisor: launches what it was given, carries messages that it cannot read, and looks at everything. */
export interface HostSettings {
  readonly machineSocket: string;
  readonly files: BootFiles;
  readonly release: Release;
  /** The first time it asks for the chip's certificates, tells of everything, and looks around. */
  readonly first?: { readonly keyService: string; readonly sealedKey: string } | undefined;
  /** Has the chip vouch for another TCB version. */
  readonly reportedTcb?: TcbVersion | undefined;
  /** Launches with an ID block of its own. */
  readonly hostSigns?: boolean | undefined;
}

export interface HostResult {
  /** Why no guest ran; undefined where one did. */
  readonly refused?: Ending;
  readonly console: readonly string[];
}

playRole<HostSettings>(async ({ settings, narrate, ready }): Promise<HostResult> => {
  const bare = await connectHost(settings.machineSocket);
  ready();
  try {
    return await launch(bare, settings, narrate);
  } catch (error) {
    if (!(error instanceof FirmwareCommandError)) throw error;
    const at = `${error.command}: ${error.statusName ?? error.status}`;
    await narrate.step('processor', `refuses: ${at}`, 'refused');
    return { refused: { opens: false, refusedBy: 'processor', at }, console: [] };
  } finally {
    bare.close();
  }
});

async function launch(
  bare: RemoteHostMachine,
  settings: HostSettings,
  narrate: Narrator,
): Promise<HostResult> {
  const { first, files, release, reportedTcb, hostSigns = false } = settings;
  const { policy, vcpus, vcpuType, memory } = snpGuest;
  const machine = first === undefined ? bare : narratedSnpMailbox(bare, narrate);
  if (reportedTcb !== undefined) {
    const tcb = buildTcbVersion(reportedTcb, 'milan');
    await softwarePlatform(machine).snp.configure({ reportedTcb: tcb });
  }
  const certificateTable = first && (await certificatesOf(machine, first.keyService, narrate));
  const guest = await softwareLauncher(machine).launchSnp({
    mode: 'snp',
    policy,
    vcpus,
    vcpuSignature: vcpuSignatureOf(vcpuType),
    memory,
    firmware: new Uint8Array(await readFile(files.firmware)),
    directBoot: {
      kernel: new Uint8Array(await readFile(files.kernel)),
      initrd: new Uint8Array(await readFile(files.initrd)),
      commandLine: release.commandLine,
    },
    idBlock: hostSigns ? await idBlockOfHost(release) : release.idBlock,
    ...(certificateTable === undefined ? {} : { certificateTable }),
  });
  try {
    const console = await runUntilBooted(guest);
    if (first !== undefined) {
      for (const line of console)
        await narrate.message('guest', 'host', `console: ${line}`, new TextEncoder().encode(line));
      await lookAround(bare, guest, settings, narrate);
      await lookAtSealedKey(first.sealedKey, narrate);
    }
    return { console };
  } finally {
    await guest.quit();
  }
}

/** The same guest, says this block, but of another owner. */
async function idBlockOfHost({ launchDigest, guestSvn }: Release) {
  const { policy } = snpGuest;
  const signed = await createIdBlock({ launchDigest, guestSvn, policy, idKey: await generateP384() });
  return { block: signed.idBlock, authentication: signed.idAuthentication };
}

/** What a curious host finds in the memory of the guest, and what it can do to it. */
async function lookAround(
  machine: HostMachine,
  guest: SoftwareSnpMachine,
  { files, release }: HostSettings,
  narrate: Narrator,
): Promise<void> {
  const image = new Uint8Array(await readFile(files.firmware));
  const start = guest.memory.requireSystemAddress(0x1_0000_0000 - image.length, 16);
  await narrate.sight(
    'firmware in memory',
    'host',
    `ciphertext ${toHex(await machine.memory.read(start, 16))}`,
  );
  await narrate.sight('firmware in memory', 'guest', `plain text ${toHex(image.subarray(0, 16))}`);
  await narrate.sight('a write to it', 'host', await tryToWrite(machine, start));
  await narrate.sight('a write to it', 'guest', 'never sees one');
  const [vmsa] = guest.vmsaAddresses;
  const registers = toHex(await machine.memory.read(vmsa!, 16));
  await narrate.sight(
    'registers',
    'host',
    `ciphertext ${registers}, and what the guest puts into the GHCB page`,
  );
  await narrate.sight('registers', 'guest', 'its own, in a page that the host cannot write');
  await narrate.sight('launch digest', 'host', `in the ID block: ${toHex(release.launchDigest)}`);
  await narrate.sight('disk key', 'host', 'encrypted to the guest’s key, which a report vouches for');
  await narrate.sight('disk', 'host', 'an encrypted volume');
}

async function tryToWrite(machine: HostMachine, address: number): Promise<string> {
  try {
    await machine.memory.write(address, new Uint8Array(16));
    return 'goes through';
  } catch (error) {
    if (!(error instanceof HostFault)) throw error;
    return 'a page fault: the reverse map table forbids it';
  }
}

async function lookAtSealedKey(path: string, narrate: Narrator): Promise<void> {
  const { length } = await readFile(path);
  await narrate.sight(
    'sealed disk key',
    'host',
    `${length} bytes, which say what the key depends on, not the key`,
  );
}
