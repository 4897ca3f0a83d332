import { buildGuestFirmware } from '@vouchsafe/guest';
import { calculateSnpLaunchDigest, systemRandom, toHex, vcpuSignatureOf } from '@vouchsafe/sev';
import { readInput, writeOutputs } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { keptBack, type Parts, released } from './folder.js';
import { tellBroker } from './tell-broker.js';

/** What a folder is set up with once: an owner who knows one machine, and two secrets of which it may have one. */

const otherPolicy = 'other-machine';
/** GUEST_POLICY of the SEV-ES machine: no debugging, no shared key, no sending; encrypted registers. */
const guestPolicy = '0xf';
const cpu = 'EPYC-Milan';

export async function writeFirmware({ firmware }: Parts): Promise<void> {
  await writeOutputs([{ path: firmware, bytes: buildGuestFirmware() }], { overwrite: true });
}

export async function makeBroker(
  { broker, ark, snpArk }: Parts,
  listen: string,
  keyService: string,
): Promise<void> {
  const roots = ['--root', snpArk, '--platform-root', ark];
  const settings = ['--listen', listen, '--kds', keyService, '--token-days', '90'];
  await tellBroker(['init', '--data', broker, ...roots, ...settings]);
}

/** Says who may have what, and stores it. Can be repeated after it was interrupted. */
export async function instructBroker({ broker, firmware }: Parts, io: Io): Promise<void> {
  const tell = (words: readonly string[], input?: string) => tellBroker([...words, '--data', broker], input);
  // Computed from the owner's own copy of the image, not asked of the host.
  const image = await readInput(firmware, 'firmware', io);
  const digestWith = async (vcpus: number) => {
    const vcpuSignature = vcpuSignatureOf(cpu);
    return toHex((await calculateSnpLaunchDigest({ firmware: image, vcpus, vcpuSignature })).digest);
  };
  const measurement = await digestWith(1);
  await tell(['reference', 'publish', '--measurement', measurement]);
  await tell(['policy', 'set', 'default', '--from', '-'], policyFor(measurement));
  await tell(['secret', 'put', released, '--from', '-'], toHex(systemRandom(32)));
  const launches = ['--policy', guestPolicy, '--firmware', firmware, '--vcpus', '1', '--vcpu-type', cpu];
  await tell(['launch', 'set', 'default', ...launches, '--secret', `luks-key:${released}`]);

  await tell(['policy', 'set', otherPolicy, '--measurement', await digestWith(2)]);
  const other = ['secret', 'put', keptBack, '--from', '-', '--policy', otherPolicy];
  await tell(other, toHex(systemRandom(32)));
}

const policyFor = (measurement: string) => `
// Made by \`vouchsafe up\`: one machine as SEV-SNP, after its launch.
@id("the-machine")
permit (principal is SnpGuest, action == Action::"release", resource)
when { principal.measurement == "${measurement}" };

// The same machine as SEV-ES, before its launch: any launch that \`broker launch\` says is expected.
@id("the-machine-before-launch")
permit (principal is PreLaunchGuest, action == Action::"release", resource)
when { principal.tee == "sev-es" && principal has launch };
`;
