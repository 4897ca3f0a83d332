import { calculateLaunchDigest, InvalidArgumentError, parseGuestPolicy } from '@vouchsafe/sev';
import type { Io } from '../../frame/io.js';
import { byte, hexOrBase64, number, path, required, text, word } from '../../frame/options.js';
import { readBootFiles, readFirmware, readVmsa } from '../launch-inputs.js';

/** Options that `measurement build` and `measurement verify` share; their names are sevctl's. */
export const measurementOptions = {
  apiMajor: required(number('--api-major <n>', 'major version of the platform’s API', byte)),
  apiMinor: required(number('--api-minor <n>', 'minor version of the platform’s API', byte)),
  buildId: required(number('--build-id <n>', 'build of the platform’s firmware', byte)),
  policy: required(number('--policy <n>', 'guest policy', word)),
  tik: required(path('--tik <file>', 'transport integrity key of the session: 16 bytes')),
  nonce: text('--nonce <b64>', 'nonce of the measurement: base64 of 16 bytes, or a file'),
  launchMeasureBlob: text(
    '--launch-measure-blob <b64>',
    'what LAUNCH_MEASURE returned, as QEMU and libvirt print it: base64 of 48 bytes, or a file',
  ),
  launchDigest: hexOrBase64('--launch-digest <hex>', 'launch digest: 32 bytes, hexadecimal or base64', 32),
  firmware: path('--firmware <file>', 'firmware image, to compute the launch digest from'),
  kernel: path('--kernel <file>', 'kernel of a measured direct boot'),
  initrd: path('--initrd <file>', 'its initrd'),
  cmdline: text('--cmdline <text>', 'its command line'),
  numCpus: number('--num-cpus <n>', 'number of virtual CPUs (SEV-ES)', { least: 1, most: 4096 }),
  vmsaCpu0: path('--vmsa-cpu0 <file>', 'VMSA page of the boot CPU (SEV-ES)'),
  vmsaCpu1: path('--vmsa-cpu1 <file>', 'VMSA page of every other CPU (SEV-ES)'),
};

interface DigestInputs {
  readonly policy: number;
  readonly launchDigest: Uint8Array | undefined;
  readonly firmware: string | undefined;
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly cmdline: string | undefined;
  readonly numCpus: number | undefined;
  readonly vmsaCpu0: string | undefined;
  readonly vmsaCpu1: string | undefined;
}

/** The launch digest: given, or computed from the files that were launched. */
export async function launchDigestOf(inputs: DigestInputs, io: Io): Promise<Uint8Array> {
  const { launchDigest, firmware } = inputs;
  if ((launchDigest === undefined) === (firmware === undefined)) {
    throw new InvalidArgumentError(
      '--launch-digest',
      'give either it or --firmware, to say what was launched',
    );
  }
  if (launchDigest !== undefined) {
    const surplus = (['kernel', 'initrd', 'cmdline'] as const).find((name) => inputs[name] !== undefined);
    if (surplus === undefined) return launchDigest;
    throw new InvalidArgumentError(`--${surplus}`, 'a launch digest says already what was launched');
  }
  const image = await readFirmware(firmware!, io);
  const boot = await readBootFiles(
    { kernel: inputs.kernel, initrd: inputs.initrd, commandLine: inputs.cmdline },
    { initrd: '--initrd', commandLine: '--cmdline' },
    io,
  );
  const encryptedState = parseGuestPolicy(inputs.policy).encryptedState;
  const calculated = encryptedState
    ? await calculateLaunchDigest({
        mode: 'seves',
        firmware: image,
        ...boot,
        vmsas: await readVmsas(inputs, io),
      })
    : await calculateLaunchDigest({ mode: 'sev', firmware: image, ...boot });
  return calculated.digest;
}

async function readVmsas({ numCpus, vmsaCpu0, vmsaCpu1 }: DigestInputs, io: Io): Promise<Uint8Array[]> {
  const missing = numCpus === undefined ? '--num-cpus' : vmsaCpu0 === undefined ? '--vmsa-cpu0' : undefined;
  if (missing !== undefined) {
    throw new InvalidArgumentError(
      missing,
      'the policy asks for SEV-ES, where CPU state is measured: it has to be given',
      {
        hint: '`vouchsafe vmsa build` makes the pages',
      },
    );
  }
  const boot = await readVmsa(vmsaCpu0!, io);
  if (numCpus === 1) return [boot];
  if (vmsaCpu1 === undefined) {
    throw new InvalidArgumentError('--vmsa-cpu1', 'it has to be given for more than one CPU');
  }
  const other = await readVmsa(vmsaCpu1, io);
  return [boot, ...Array.from({ length: numCpus! - 1 }, () => other)];
}
