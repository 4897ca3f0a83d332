import {
  authorityIdentity,
  formatTcb,
  isSignedWith,
  looksLikePem,
  type NameAttribute,
  nameText,
  parseCertificate,
  parsePem,
  parseRevocationList,
  parseVek,
  sameName,
  tcbDifferences,
  timeText,
  toHex,
  type X509Certificate,
} from '@vouchsafe/sev';
import { expectingSoon, unfit } from '../received.js';
import {
  type AuthorityRequest,
  type EndorsementRequest,
  requestText,
  sameHwid,
  type VcekRequest,
  type VlekRequest,
} from './endorsement-request.js';

/** How long an answer may be kept. */
export interface Lifetime {
  /** Milliseconds since 1970: not before. */
  readonly from: number;
  /** Milliseconds since 1970: no longer, and not at this moment either. Infinity for endorsements. */
  readonly until: number;
}

const forGood: Lifetime = { from: Number.NEGATIVE_INFINITY, until: Number.POSITIVE_INFINITY };

/**
 * Reads what a service, a cache or a bundle gave for a request, strictly, and says how long it may be kept. Whether to
 * trust it is for a verifier to say, who has a root.
 * @throws UnavailableError when it is not what was asked for
 */
export async function checkEndorsement(request: EndorsementRequest, bytes: Uint8Array): Promise<Lifetime> {
  return expectingSoon(requestText(request), async () => {
    if (!('kind' in request)) checkVek(request, bytes);
    else if (request.what === 'crl') return checkList(request, bytes);
    else await readChain(request, bytes);
    return forGood;
  });
}

function checkVek(request: VcekRequest | VlekRequest, bytes: Uint8Array): void {
  const refuse = (found: string) => unfit(requestText(request), found);
  const certificate = parseCertificate(bytes, { offset: 0, path: request.what.toUpperCase() });
  const vek = parseVek(certificate);
  const kind = request.what === 'vcek' ? 'VCEK' : 'VLEK';
  if (vek.kind !== kind) throw refuse(`a ${vek.kind}`);
  if (vek.line !== request.line) throw refuse(`a ${vek.kind} of ${vek.line}`);
  if (request.what === 'vcek' && !sameHwid(vek.hwid, request.hwid))
    throw refuse(`that of chip ${toHex(vek.hwid ?? new Uint8Array()).slice(0, 16)}…`);
  if (tcbDifferences(vek.tcb, request.tcb).length > 0)
    throw refuse(`one for ${formatTcb(vek.tcb)}, not for ${formatTcb(request.tcb)}`);
  requireAuthority(request, kind === 'VCEK' ? 'ASK' : 'ASVK', certificate.issuer.attributes, 'issued by');
}

/**
 * The two certificates of a chain: ASK or ASVK, then the ARK that signed it and itself.
 * @throws UnavailableError when they are not the ones that the request names
 */
export async function readChain(
  request: Pick<AuthorityRequest, 'kind' | 'line'>,
  bytes: Uint8Array,
): Promise<readonly [signer: X509Certificate, ark: X509Certificate]> {
  const asked = { ...request, what: 'chain' } as const;
  const role = request.kind === 'VCEK' ? 'ASK' : 'ASVK';
  return expectingSoon(requestText(asked), async () => {
    if (!looksLikePem(bytes)) throw unfit(requestText(asked), 'something that is not PEM');
    const blocks = parsePem(new TextDecoder('latin1').decode(bytes), 'CERTIFICATE', 'cert_chain');
    const [signer, ark] = blocks.map((der, i) =>
      parseCertificate(der, { offset: 0, path: `block ${i + 1}` }),
    );
    if (signer === undefined || ark === undefined || blocks.length !== 2)
      throw unfit(requestText(asked), `${blocks.length} certificates`);
    requireAuthority(asked, role, signer.subject.attributes, 'first');
    requireAuthority(asked, 'ARK', ark.subject.attributes, 'second');
    for (const certificate of [signer, ark]) {
      const key = ark.publicKey;
      const named = sameName(certificate.issuer.attributes, ark.subject.attributes);
      if (!named || !('modulus' in key) || !(await isSignedWith(certificate, key)))
        throw unfit(
          requestText(asked),
          `${nameText(certificate.subject.attributes)}, which that ARK did not sign`,
        );
    }
    return [signer, ark] as const;
  });
}

function checkList(request: AuthorityRequest, bytes: Uint8Array): Lifetime {
  const list = parseRevocationList(bytes, { offset: 0, path: 'revocation list' });
  requireAuthority(request, 'ARK', list.issuer.attributes, 'issued by');
  // A list that does not say when it grows stale is good for this moment and for no cache.
  return { from: list.thisUpdate, until: list.nextUpdate ?? Number.NEGATIVE_INFINITY };
}

function requireAuthority(
  request: EndorsementRequest,
  role: 'ARK' | 'ASK' | 'ASVK',
  name: readonly NameAttribute[],
  place: string,
): void {
  const identity = authorityIdentity(name);
  if (identity?.role !== role || identity.line !== request.line)
    throw unfit(requestText(request), `${place} ${nameText(name) || 'nobody'}`);
}

/** Refuses a revocation list that does not hold at this moment. @throws UnavailableError */
export function requireCurrent(request: EndorsementRequest, { from, until }: Lifetime, now: number): void {
  const hint = 'compare this machine’s clock with another; otherwise what answers there is out of date';
  if (from > now) throw unfit(requestText(request), `one of the future, ${timeText(from)}`, { hint });
  if (Number.isFinite(until) && until <= now)
    throw unfit(requestText(request), `one that grew stale at ${timeText(until)}`, { hint });
}

/** Whether a cache may give out what it kept. */
export const isCurrent = ({ from, until }: Lifetime, now: number) => from <= now && now < until;
