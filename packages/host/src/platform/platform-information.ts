import { platformStatus, sevCertificate, UnavailableError } from '@vouchsafe/sev';
import type { PlatformInformation } from './platform.js';

/** What both backends of `Platform` share. */

export const certificateSize = sevCertificate.size;
/** PEK, OCA and CEK. */
export const chainSize = 3 * certificateSize;
/** What GET_ID gives for one socket. */
export const chipIdSize = 64;

/** Reads the 12 bytes of PLATFORM_STATUS. @throws MalformedError for a state that the specification does not have */
export function platformInformation(status: Uint8Array): PlatformInformation {
  const { apiMajor, apiMinor, state, owner, config, guestCount } = platformStatus.parse(status);
  return {
    apiMajor,
    apiMinor,
    build: config.build,
    state,
    externallyOwned: owner.externallyOwned,
    encryptedState: config.encryptedState,
    guestCount,
  };
}

/** The kernel does not reset a platform under the feet of its guests. */
export function guestsAreRunning(): UnavailableError {
  return new UnavailableError('platform', 'it holds guests, and a factory reset would end them', {
    hint: 'stop every guest first; `vouchsafe platform status` counts them',
  });
}
