import {
  explainGuestPolicy,
  explainSnpPolicy,
  hashesTable,
  parseFirmwareFooter,
  VouchsafeError,
} from '@vouchsafe/sev';
import { readInitrdPaths } from './cpio-names.js';
import { examineDisk } from './examine-disk.js';
import type { BootMachine } from './machine.js';
import { type BootPiece, openPiece, piece } from './pieces.js';

/** Every piece of the machine's boot chain, in the order in which they run. */
export function examineBoot(machine: BootMachine): BootPiece[] {
  const parameters = parametersOf(machine.commandLine ?? '');
  const chain = machine.kernel === undefined ? loaderPieces(machine) : directBootPieces(machine);
  const measured = machine.kernel !== undefined && chain.every(({ state }) => state !== 'open');
  return [
    policyPiece(machine),
    piece('firmware', 'measured', 'the launch digest begins with it'),
    machine.variables
      ? openPiece(
          'variables',
          'a file of the host’s, which no digest covers',
          'the host chooses boot order, Secure Boot keys and every other setting that firmware takes from there',
          'launch without a variables volume: -bios, or the code volume alone',
        )
      : piece('variables', 'absent', 'the firmware has none'),
    ...chain,
    ...shellPieces(machine.commandLine ?? ''),
    ...examineDisk(machine.disk, {
      mode: machine.mode,
      parameters,
      isMeasured: measured,
      paths: machine.initrd === undefined ? [] : readInitrdPaths(machine.initrd).paths,
    }),
    ...initDataPieces(machine),
  ];
}

/** Bits of the policies that give the guest's memory away. Side channels are `policy explain`'s to tell. */
const memoryBits = ['NODBG', 'NOKS', 'NOSEND', 'SEV', 'DEBUG', 'MIGRATE_MA'];

function policyPiece({ mode, policy }: BootMachine): BootPiece {
  const statements = mode === 'snp' ? explainSnpPolicy(policy) : explainGuestPolicy(Number(policy));
  const bad = statements.filter(({ label, concern }) => concern === 'open' && memoryBits.includes(label));
  const word = `0x${policy.toString(16)}`;
  if (bad.length === 0) return piece('policy', 'measured', `${word}, which reports and measurements carry`);
  return openPiece(
    'policy',
    `${word}: ${bad.map(({ label }) => label).join(', ')}`,
    bad.map(({ consequence }) => consequence).join('; '),
    'launch with a stricter policy: vouchsafe policy explain',
  );
}

/** Without a direct boot, firmware looks for something to boot. */
function loaderPieces({ bootLoader }: BootMachine): BootPiece[] {
  if (bootLoader === 'firmware')
    return [
      piece('boot-loader', 'measured', 'part of the firmware image, as in OVMF’s AmdSev build'),
      piece('kernel', 'gated', 'on the disk that the boot loader opens with the injected key'),
    ];
  return [
    openPiece(
      'boot-loader',
      'firmware takes it from a disk, and measures no disk',
      'the host boots what it likes, which then asks for the secrets of this machine',
      'boot a kernel directly (--kernel, kernel-hashes=on), or use firmware that carries its boot loader',
    ),
  ];
}

function directBootPieces(machine: BootMachine): BootPiece[] {
  const { firmware, kernelHashes, initrd, commandLine } = machine;
  const reason = !kernelHashes
    ? 'the launch has no kernel-hashes=on'
    : hasRoomForHashes(firmware)
      ? undefined
      : 'the firmware has no room for the hashes of a kernel';
  if (reason === undefined) {
    return [
      piece('kernel', 'measured', 'its hash is in the launch digest, and firmware checks it'),
      piece('initrd', initrd === undefined ? 'absent' : 'measured', 'its hash is in the launch digest'),
      piece(
        'command-line',
        'measured',
        commandLine === undefined ? 'empty, as measured' : 'its hash is in the launch digest',
      ),
    ];
  }
  const hint = kernelHashes
    ? 'use firmware with a hashes area, such as OVMF’s AmdSev build'
    : 'set kernel-hashes=on';
  return [
    openPiece('kernel', reason, 'the host boots another kernel in this machine’s name', hint),
    openPiece('initrd', reason, 'the host puts programs of its own into the machine', hint),
    openPiece('command-line', reason, 'the host starts what it likes: init=/bin/sh', hint),
  ];
}

function hasRoomForHashes(firmware: Uint8Array): boolean {
  try {
    const { hashTableArea } = parseFirmwareFooter(firmware);
    return hashTableArea !== undefined && hashTableArea.base !== 0 && hashTableArea.size >= hashesTable.size;
  } catch (error) {
    if (error instanceof VouchsafeError) return false;
    throw error;
  }
}

/** Words that give a shell to whoever types on the console, which is the host's. */
const shellWords =
  /^(?:init=\/(?:usr\/)?s?bin\/\w*sh|rdinit=\/\S*sh|single|s|1|emergency|rescue|rd\.break\S*|break(?:=\S+)?|rd\.shell(?:=1)?|systemd\.debug[-_]shell\S*|systemd\.unit=(?:rescue|emergency)\.target)$/;

function shellPieces(commandLine: string): BootPiece[] {
  const found = commandLine.split(/\s+/).filter((word) => shellWords.test(word));
  if (found.length === 0) return [];
  return [
    openPiece(
      'shell',
      `the command line has ${found.join(' ')}`,
      'the console is the host’s: it types into a shell inside the machine, before or after the disk is open',
      'leave it out; measured as it is, it says what is measured',
    ),
  ];
}

function initDataPieces({ initData }: BootMachine): BootPiece[] {
  if (initData === undefined) return [];
  if (initData === 'bound')
    return [piece('init-data', 'measured', 'HOST_DATA is its digest, and is compared')];
  return [
    openPiece(
      'init-data',
      'HOST_DATA is not compared with its digest',
      'the host hands over other settings: policies, addresses, names of secrets',
      'give the broker the digest as host data: broker reference publish --host-data',
    ),
  ];
}

/** `NAME=VALUE` of the command line; the last one counts, as with most of the kernel's. */
function parametersOf(commandLine: string): ReadonlyMap<string, string> {
  const pairs = commandLine.split(/\s+/).map((word): [string, string] => {
    const at = word.indexOf('=');
    return at === -1 ? [word, ''] : [word.slice(0, at), word.slice(at + 1)];
  });
  return new Map(pairs);
}
