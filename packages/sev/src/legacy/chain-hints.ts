import type { AmdCaCertificate } from './ca-certificate.js';
import { caIdentity, type PlatformRoot, titleOf } from './roots.js';

const fromHost =
  'get it from the host: `vouchsafe platform export`, `sevctl export` or QMP query-sev-capabilities';
const fromAmd = 'get ASK and ARK with `vouchsafe kds fetch` and give them with --ca FILE';
/** Where a missing certificate comes from. */
export const howToGet: Readonly<Record<'pdh' | 'pek' | 'oca' | 'cek' | 'ask' | 'ark', string>> = {
  pdh: fromHost,
  pek: fromHost,
  oca: fromHost,
  cek: 'get it for this chip’s id with `vouchsafe kds fetch`, and give it with the chain',
  ask: fromAmd,
  ark: fromAmd,
};

/** What to do about a root that was not among the trusted ones; undefined for a stranger's. */
export function untrustedHint(ark: AmdCaCertificate, roots: readonly PlatformRoot[]): string | undefined {
  const identity = caIdentity(ark);
  if (identity === undefined) return undefined;
  const what = `${identity.kind === 'amd' ? 'AMD’s' : 'a development'} root for ${titleOf(identity.generation)}`;
  const sameKind = roots.some(({ kind }) => kind === identity.kind);
  if (identity.kind === 'amd') {
    return sameKind
      ? `this claims to be ${what} and is not it`
      : `this claims to be ${what}; to trust AMD’s, leave out --root`;
  }
  const software = `this is ${what}: the platform is software, no chip protects the guest`;
  return `${software}; if that is what you want, name ${sameKind ? 'this very root' : 'it'} with --root FILE`;
}
