import { idAuthentication, isZero } from '@vouchsafe/sev';

/** AUTH_KEY_EN: whether ID authentication information (4096 bytes) comes with an author key. */
export function hasAuthorKey(authentication: Uint8Array): boolean {
  return !isZero(authentication.subarray(idAuthentication.offsetOf('authorKey')));
}
