import { InvalidArgumentError, vmmTypes } from '@vouchsafe/sev';
import { choice, number, path, required, text, withDefault } from '../../frame/options.js';
import { vcpuOptions } from '../vcpu.js';

const digestModes = ['sev', 'seves', 'snp', 'snp:svsm', 'snp:ovmf-hash'] as const;
export type DigestMode = (typeof digestModes)[number];

/** Names and defaults as in sev-snp-measure, so that scripts carry over. */
export const launchOptions = {
  mode: required(choice('--mode <mode>', 'what kind of guest', digestModes)),
  ovmf: required(path('--ovmf <file>', 'firmware image: the code volume alone')),
  kernel: path('--kernel <file>', 'kernel of a measured direct boot (QEMU: kernel-hashes=on)'),
  initrd: path('--initrd <file>', 'its initrd'),
  append: text('--append <text>', 'its command line, exactly as the VMM gets it'),
  vcpus: number('--vcpus <n>', 'number of virtual CPUs; seves, snp and snp:svsm need it', {
    least: 1,
    most: 4096,
  }),
  ...vcpuOptions,
  vmmType: withDefault(choice('--vmm-type <type>', 'who launches', vmmTypes), 'QEMU'),
  guestFeatures: text(
    '--guest-features <n>',
    'SEV_FEATURES, decimal or 0x…; of these, seves has DebugSwap alone (default: 0x1)',
  ),
  vmsaFpu: choice(
    '--vmsa-fpu <state>',
    'MXCSR and FCW in the VMSA, set by QEMU on Linux 6.10 and later, zero before and elsewhere',
    ['set', 'zero'] as const,
  ),
  snpOvmfHash: text(
    '--snp-ovmf-hash <hex>',
    'digest of the firmware alone, from mode snp:ovmf-hash; then --ovmf may be its last pages',
  ),
  svsm: path('--svsm <file>', 'SVSM image, for snp:svsm'),
  varsSize: number('--vars-size <n>', 'bytes of the firmware’s variables volume, for snp:svsm', {
    most: 2 ** 32,
  }),
  varsFile: path('--vars-file <file>', 'that volume, for its size'),
};

/** @throws InvalidArgumentError for anything but a number of 64 bits */
export function readFeatures(given: string, name: string): bigint {
  const word = /^(?:\d{1,20}|0[xX][0-9a-fA-F]{1,16})$/.test(given) ? BigInt(given) : -1n;
  if (word < 0n || word >= 1n << 64n) {
    throw new InvalidArgumentError(name, 'expected a number of 64 bits, decimal or 0x…');
  }
  return word;
}
