import type { Product } from './frame/program.js';

/** What an initrd holds of `vouchsafe`: enough to prove what this machine is and to open its disk. */
export const initrdProduct: Product = {
  name: 'vouchsafe',
  // The bundle has its version put in: package.json is not beside it.
  version: process.env['VOUCHSAFE_VERSION'] ?? 'unbundled',
  description: 'The part of vouchsafe that runs in an initrd.',
  closing: 'Exit status: 0 done, 1 refused, 2 malformed input or arguments, 3 something outside failed.',
  table: {
    disk: {
      summary: 'encrypted disks, and the keys that open them',
      commands: {
        unlock: {
          summary: 'unlock one with an injected or attested key',
          load: async () => (await import('./commands/disk/unlock.js')).unlock,
        },
      },
    },
  },
};
