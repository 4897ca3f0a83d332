import type { SnpGuestIdentity } from '../guest-contexts.js';
import type { SnpSession } from '../snp-firmware.js';

/**
 * KEY_SEL: 0 the VLEK if one is loaded, else the VCEK; 1 the VCEK; 2 the VLEK. `INVALID_PARAM` for the reserved value,
 * `INVALID_KEY` where the key is not there: no VLEK, or a VCEK that LAUNCH_FINISH disabled for this guest.
 */
export function chosenKey(
  selection: number,
  { vlek }: Pick<SnpSession, 'vlek'>,
  { vcekDisabled }: Pick<SnpGuestIdentity, 'vcekDisabled'>,
): 'VCEK' | 'VLEK' | 'INVALID_PARAM' | 'INVALID_KEY' {
  if (selection > 2) return 'INVALID_PARAM';
  const wantsVlek = selection === 2 || (selection === 0 && vlek !== undefined);
  if (wantsVlek) return vlek === undefined ? 'INVALID_KEY' : 'VLEK';
  return vcekDisabled ? 'INVALID_KEY' : 'VCEK';
}
