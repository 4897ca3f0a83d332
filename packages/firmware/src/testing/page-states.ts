import type { PageState } from '@vouchsafe/sev';

/** Every state of a page, as the firmware ABI names them. */
export const states = [
  'Hypervisor',
  'HV-Fixed',
  'Reclaim',
  'Firmware',
  'Context',
  'Metadata',
  'Pre-Guest',
  'Pre-Swap',
  'Guest-Invalid',
  'Guest-Valid',
] as const satisfies readonly PageState[];
