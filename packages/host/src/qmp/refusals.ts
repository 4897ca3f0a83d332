import { statusCodes, UnavailableError, type VouchsafeError } from '@vouchsafe/sev';
import { FirmwareCommandError } from '../platform/firmware-error.js';
import { QmpError } from './errors.js';
import { statusInQemuText } from './firmware-texts.js';

/** What QEMU says when it cannot do something with SEV, what that means, and what to do about it. */
interface KnownRefusal {
  readonly says: RegExp;
  readonly what: string;
  readonly means: string;
  readonly hint: string;
}

const needsSevHost =
  'SEV needs an AMD EPYC host with memory encryption and SEV switched on in its BIOS, and the kernel module kvm_amd with sev=1';

const withoutSev: KnownRefusal = {
  says: /SEV launch measurement is not available|SEV is not enabled|SEV not enabled/,
  what: 'virtual machine',
  means: 'it was launched without SEV, so it has no measurement, takes no secret and gives no report',
  hint: 'launch it with a sev-guest object (confidential-guest-support)',
};

const knownRefusals: readonly KnownRefusal[] = [
  {
    says: /KVM not enabled|invalid accelerator kvm/,
    what: 'KVM',
    means: 'QEMU runs without hardware virtualisation, and SEV works only with it',
    hint: 'start QEMU with accel=kvm on an AMD EPYC host, as a user who may open /dev/kvm',
  },
  {
    says: /Could not access KVM kernel module: Permission denied/,
    what: '/dev/kvm',
    means: 'this user may not open it',
    hint: 'join the group kvm (usermod -aG kvm USER), then log in again',
  },
  {
    says: /Could not access KVM kernel module/,
    what: '/dev/kvm',
    means: 'the kernel offers no hardware virtualisation',
    hint: needsSevHost,
  },
  {
    says: /SEV is not enabled in KVM|sev_kvm_init: failed to initialize/,
    what: 'KVM',
    means: 'the kernel runs virtual machines, but none with SEV',
    hint: `${needsSevHost}: see /sys/module/kvm_amd/parameters/sev`,
  },
  {
    says: /Failed to open (?:'?\/dev\/sev|'?\/\S*sev)/,
    what: '/dev/sev',
    means: 'QEMU cannot open the secure processor',
    hint: 'load the kernel module ccp, and give the user access to /dev/sev',
  },
  {
    says: /cbitpos check failed|reduced_phys_bits check failed/,
    what: 'SEV',
    means: 'this host has no SEV, or places its C-bit elsewhere than query-sev-capabilities says',
    hint: needsSevHost,
  },
  {
    says: /host SEV-ES support unavailable/,
    what: 'SEV-ES',
    means: 'the policy asks for SEV-ES, and this host has SEV alone',
    hint: 'load kvm_amd with sev_es=1, on EPYC of the second generation or later',
  },
  {
    says: /cgs->ready' failed/,
    what: 'KVM',
    means: 'QEMU was told to emulate the processor, and SEV works only with KVM',
    hint: 'start QEMU with accel=kvm on an AMD EPYC host',
  },
  {
    says: /SEV is not available in this QEMU|does not accept value 'sev-guest'|invalid object type: sev-guest/,
    what: 'QEMU',
    means: 'this QEMU was built without SEV',
    hint: 'install qemu-system-x86 of Debian 12 or later',
  },
  {
    says: /does not accept value 'sev-snp-guest'|invalid object type: sev-snp-guest/,
    what: 'QEMU',
    means: 'this QEMU knows no SEV-SNP guests',
    hint: 'use QEMU 9.1 or later, on a host with Linux 6.11 or later',
  },
  withoutSev,
  {
    says: /no secret area found in OVMF/,
    what: 'firmware',
    means: 'its footer reserves no area for secrets',
    hint: 'give the guest address yourself, or use a firmware with a secret area (OVMF built from AmdSevX64.dsc)',
  },
  {
    says: /no hashes table GUID|hashes table area is invalid|cannot map hashes table/,
    what: 'firmware',
    means: 'its footer reserves no room for the hashes of a directly booted kernel',
    hint: 'use a firmware that checks them (OVMF built from AmdSevX64.dsc), or launch without a kernel',
  },
  {
    says: /Failed to calculate guest address/,
    what: 'guest memory',
    means: 'the guest has no memory at the address of the secret',
    hint: 'give the guest more memory, or another address',
  },
  {
    says: /unable to find CPU model/,
    what: 'QEMU',
    means: 'this version does not know the CPU model',
    hint: 'choose an older model, or a newer QEMU',
  },
];

/** Command of the firmware that each of QEMU's messages is about. */
const firmwareCommands: readonly (readonly [RegExp, string])[] = [
  [/SNP_LAUNCH_START/, 'SNP_LAUNCH_START'],
  [/SNP_LAUNCH_UPDATE/, 'SNP_LAUNCH_UPDATE'],
  [/SNP_LAUNCH_FINISH/, 'SNP_LAUNCH_FINISH'],
  [/LAUNCH_START|encryption context/, 'LAUNCH_START'],
  [/LAUNCH_UPDATE_VMSA/, 'LAUNCH_UPDATE_VMSA'],
  [/LAUNCH_UPDATE/, 'LAUNCH_UPDATE_DATA'],
  [/LAUNCH_MEASURE/, 'LAUNCH_MEASURE'],
  [/inject secret/, 'LAUNCH_SECRET'],
  [/LAUNCH_FINISH/, 'LAUNCH_FINISH'],
  [/attestation report/i, 'ATTESTATION'],
  [/PDH cert/, 'PDH_CERT_EXPORT'],
  [/get ID/, 'GET_ID'],
];

/** The error that says what QEMU's text means; undefined for a text that is not known. */
export function meaningOf(text: string, cause?: unknown): VouchsafeError | undefined {
  const status = statusInQemuText(text);
  if (status !== undefined) {
    const command = firmwareCommands.find(([says]) => says.test(text))?.[1] ?? 'SEV command';
    return new FirmwareCommandError(command, status, { cause });
  }
  if (/Not in correct state\. \(LSECRET\)/.test(text)) {
    return new FirmwareCommandError('LAUNCH_SECRET', statusCodes.INVALID_GUEST_STATE, { cause });
  }
  const known = knownRefusals.find(({ says }) => says.test(text));
  return (
    known &&
    new UnavailableError(known.what, `${known.means} (QEMU: ${oneLine(text)})`, { hint: known.hint, cause })
  );
}

/** What query-sev says with a member instead of a refusal. */
export function launchedWithoutSev(): UnavailableError {
  return new UnavailableError(withoutSev.what, withoutSev.means, { hint: withoutSev.hint });
}

/** What query-sev says of a guest that is asked for what only SEV and SEV-ES have. */
export function launchedWithSnp(): UnavailableError {
  return new UnavailableError(
    'virtual machine',
    'it is a guest of SEV-SNP: the host has no measurement of it, and no way to give it a secret',
    { hint: 'ask the guest for a report: `vouchsafe guest report`, and `vouchsafe report verify`' },
  );
}

/** Gives refusals that are known their meaning; other errors stay what they are. */
export async function withMeaning<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof QmpError)) throw error;
    throw meaningOf(error.description, error) ?? error;
  }
}

function oneLine(text: string): string {
  const line = text.trim().split('\n').at(-1) ?? '';
  return line.length > 200 ? `${line.slice(0, 199)}…` : line;
}
