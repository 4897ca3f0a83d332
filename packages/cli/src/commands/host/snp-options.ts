import type { SnpLaunchConfiguration } from '@vouchsafe/host';
import { InvalidArgumentError } from '@vouchsafe/sev';
import type { Io } from '../../frame/io.js';
import { choice, flag, grouped, hexOrBase64, path, wideNumber, withDefault } from '../../frame/options.js';
import { readIdAuthentication, readIdBlock } from '../id-block/files.js';

/** What a launch of SEV-SNP is told besides; names as in QEMU where it has them. */
export const snpOptions = grouped('SEV-SNP', {
  mode: withDefault(
    choice('--mode <mode>', 'what to launch; with sev the policy says whether SEV-ES', [
      'sev',
      'snp',
    ] as const),
    'sev',
  ),
  idBlock: path('--id-block <file>', 'ID block that the guest must fit, from id-block create --out'),
  idAuth: path('--id-auth <file>', 'its ID authentication information'),
  hostData: hexOrBase64('--host-data <hex>', 'HOST_DATA of reports: 32 bytes', 32),
  vcekDisabled: flag('--vcek-disabled', 'the chip’s own key neither signs reports nor derives keys'),
  guestFeatures: wideNumber('--guest-features <n>', 'SEV_FEATURES (default: 0x1)'),
});

export interface SnpInputs {
  readonly mode: 'sev' | 'snp';
  readonly policy: bigint | undefined;
  readonly idBlock: string | undefined;
  readonly idAuth: string | undefined;
  readonly hostData: Uint8Array | undefined;
  readonly vcekDisabled: boolean;
  readonly guestFeatures: bigint | undefined;
  readonly disk: string | undefined;
}

/** SMT allowed, everything else that can be forbidden is. */
const defaultSnpPolicy = 0x30000n;

/** Options that a launch would not take would be believed to be in force. @throws InvalidArgumentError */
export function requireFitting(
  { mode, ...inputs }: SnpInputs,
  ofSev: Readonly<Record<string, unknown>>,
  moreOfSnp: Readonly<Record<string, unknown>> = {},
): void {
  const { idBlock, idAuth, hostData, vcekDisabled, guestFeatures, disk } = inputs;
  const ofSnp = {
    '--id-block': idBlock,
    '--id-auth': idAuth,
    '--host-data': hostData,
    '--vcek-disabled': vcekDisabled || undefined,
    '--guest-features': guestFeatures,
    ...moreOfSnp,
  };
  const others = mode === 'snp' ? { ...ofSev, '--disk': disk } : ofSnp;
  const given = Object.entries(others).find(([, value]) => value !== undefined)?.[0];
  if (given !== undefined) {
    const hint =
      given === '--disk'
        ? 'nothing is injected into such a guest; seal the volume to a key of the guest’s own (guest seal)'
        : `leave it out, or choose --mode ${mode === 'snp' ? 'sev' : 'snp'}`;
    throw new InvalidArgumentError(given, `mode ${mode} does not take it`, { hint });
  }
  if ((idBlock === undefined) !== (idAuth === undefined)) {
    throw new InvalidArgumentError(
      idBlock === undefined ? '--id-block' : '--id-auth',
      'give both or neither',
    );
  }
}

/** What of a launch configuration only SEV-SNP has. */
export async function readSnpConfiguration(
  inputs: SnpInputs,
  io: Io,
): Promise<Pick<SnpLaunchConfiguration, 'mode' | 'policy'> & Partial<SnpLaunchConfiguration>> {
  const { policy = defaultSnpPolicy, idBlock, idAuth, hostData, vcekDisabled, guestFeatures } = inputs;
  return {
    mode: 'snp',
    policy,
    vcekDisabled,
    ...(idBlock === undefined || idAuth === undefined
      ? {}
      : {
          idBlock: {
            block: await readIdBlock(idBlock, io),
            authentication: await readIdAuthentication(idAuth, io),
          },
        }),
    ...(hostData === undefined ? {} : { hostData }),
    ...(guestFeatures === undefined ? {} : { guestFeatures }),
  };
}
