import type { NotReleasable } from '../secrets/release.js';

/** Why a secret that a policy releases is not released, in the words of a denial. */
export const unreleasable: Readonly<
  Record<NotReleasable, { expected: string; found: string; hint: string }>
> = {
  absent: { expected: 'a secret', found: 'none', hint: 'store one: `vouchsafe broker secret put`' },
  deleted: { expected: 'a secret', found: 'one that was deleted', hint: 'store a new version' },
  disabled: {
    expected: 'a version that is enabled',
    found: 'one that is disabled',
    hint: 'enable it: `vouchsafe broker secret enable`',
  },
  'not-yet-valid': {
    expected: 'a version that is valid now',
    found: 'one that is not valid yet',
    hint: 'wait, or store a version with an earlier start',
  },
  expired: {
    expected: 'a version that is valid now',
    found: 'one whose validity has ended',
    hint: 'store a new version',
  },
  'used-up': {
    expected: 'a release that is left, or the key and session that had one',
    found: 'all of them used by other keys or sessions',
    hint: 'store a new version, if this guest should have it too',
  },
};
