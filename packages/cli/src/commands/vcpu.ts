import { InvalidArgumentError, vcpuSignature, vcpuSignatureOf } from '@vouchsafe/sev';
import { number, text, word } from '../frame/options.js';

/** The three ways to name a guest's CPU; option names as in sev-snp-measure. */
export const vcpuOptions = {
  vcpuType: text('--vcpu-type <type>', 'CPU model of QEMU, for example EPYC-v4 or EPYC-Milan'),
  vcpuSig: number('--vcpu-sig <n>', 'CPU signature: CPUID function 1, EAX', word),
  vcpuFamily: number('--vcpu-family <n>', 'CPU family', { most: 270 }),
  vcpuModel: number('--vcpu-model <n>', 'CPU model', { most: 255 }),
  vcpuStepping: number('--vcpu-stepping <n>', 'CPU stepping', { most: 15 }),
};

export interface VcpuInputs {
  readonly vcpuType: string | undefined;
  readonly vcpuSig: number | undefined;
  readonly vcpuFamily: number | undefined;
  readonly vcpuModel: number | undefined;
  readonly vcpuStepping: number | undefined;
}

/** The signature that the options name, if they do. @throws InvalidArgumentError when they name more than one CPU */
export function readVcpuSignature(inputs: VcpuInputs): number | undefined {
  const { vcpuType, vcpuSig, vcpuFamily: family, vcpuModel: model, vcpuStepping: stepping } = inputs;
  const byParts = family !== undefined || model !== undefined || stepping !== undefined;
  if ([vcpuType !== undefined, vcpuSig !== undefined, byParts].filter(Boolean).length > 1) {
    throw new InvalidArgumentError(
      '--vcpu-type',
      'give the type, the signature, or family, model and stepping: one of the three',
    );
  }
  if (vcpuType !== undefined) return vcpuSignatureOf(vcpuType);
  if (!byParts) return vcpuSig;
  if (family === undefined || model === undefined || stepping === undefined) {
    throw new InvalidArgumentError('--vcpu-family', 'family, model and stepping have to be given together');
  }
  return vcpuSignature({ family, model, stepping });
}
