import { bitRange, bits, flag } from '../codec/bits.js';
import { bitsField, named, u8, u32 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';

/** States of the platform (SEV API, chapter 5). Every command is legal in some of them only. */
export const platformStates = { UNINIT: 0, INIT: 1, WORKING: 2 } as const;
export type PlatformState = keyof typeof platformStates;

const ownerBits = bits(
  {
    name: 'PLATFORM_STATUS.owner',
    width: 8,
    source: 'linux include/linux/psp-sev.h, sev_user_data_status',
    reserved: 'report',
  },
  { externallyOwned: flag(0, 'OWNER', 'the PEK was signed by an owner outside this platform') },
);

/** The 12 bytes that PLATFORM_STATUS returns and that SEV_PLATFORM_STATUS of /dev/sev copies out. */
export const platformStatus = structure(
  {
    name: 'PLATFORM_STATUS',
    size: 12,
    source: 'SEV API 0.24, PLATFORM_STATUS; linux include/uapi/linux/psp-sev.h',
  },
  {
    apiMajor: u8(0, 'major version of the firmware API'),
    apiMinor: u8(1, 'minor version of the firmware API'),
    state: named(2, 1, platformStates, 'state of the platform'),
    owner: bitsField(3, ownerBits, 'who owns the platform'),
    config: bitsField(
      4,
      bits(
        {
          name: 'PLATFORM_STATUS.config',
          width: 32,
          source: 'SEV API 0.24, PLATFORM_STATUS',
          reserved: 'report',
        },
        {
          encryptedState: flag(0, 'ES', 'INIT switched SEV-ES on'),
          build: bitRange(24, 8, 'BUILD', 'build of the firmware'),
        },
      ),
      'switches and build',
    ),
    guestCount: u32(8, 'guests that the firmware holds', { unit: 'guests' }),
  },
);
