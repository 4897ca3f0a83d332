import { VouchsafeError } from '../errors.js';
import type { X509Certificate } from '../x509/certificate.js';
import { sameName } from '../x509/name.js';
import { oidName, oids } from '../x509/oid.js';
import { parseListScope, type X509RevocationList } from '../x509/revocation-list.js';
import { isSignedWith, type RsaPssAlgorithm, sameAlgorithm } from '../x509/signature-algorithm.js';
import { timeText } from '../x509/time.js';
import type { EndorsementRules } from './endorsement-rules.js';
import type { VekKind } from './vek-certificate.js';

/**
 * `require`: without a current list the evidence is refused. `if-available`: a current list is used where there is one,
 * and otherwise the check is not done. `skip`: the check is not done. A list that names a key counts in all but `skip`.
 */
export type RevocationMode = 'require' | 'if-available' | 'skip';

/**
 * A revocation list that may bear on a chain. AMD has two for each root, one for ASKs and one for ASVKs, and nothing
 * inside tells them apart: `covers` says from which address it came. Left out, it is taken to be the right one.
 */
export interface OfferedRevocationList extends X509RevocationList {
  readonly covers?: VekKind;
}

/** The address of the list that names revoked ASKs (for VCEKs) or ASVKs (for VLEKs). */
export function revocationListUri(rules: EndorsementRules, kind: VekKind): string {
  return rules.authorities[rules.veks[kind].issuer].crlUri;
}

/** Whether a list may be relied on at a date: not before it was issued, and before the next one is due. */
export function isCurrentList(
  { thisUpdate, nextUpdate }: Pick<X509RevocationList, 'thisUpdate' | 'nextUpdate'>,
  at: number,
): boolean {
  return thisUpdate <= at && nextUpdate !== undefined && at < nextUpdate;
}

export interface RevocationQuestion {
  readonly ark: X509Certificate;
  readonly authorities: readonly X509Certificate[];
  readonly lists: readonly OfferedRevocationList[];
  readonly kind: VekKind;
  /** Address of the list that covers the chain. */
  readonly uri: string;
  readonly signatureAlgorithm: RsaPssAlgorithm;
  /** Milliseconds since 1970. */
  readonly at: number;
}

export interface RevocationAnswer {
  /** A list by the ARK for this kind of key, current at the date. */
  readonly current: boolean;
  /** Lists that claim to be the ARK's and are not, or cannot be understood. */
  readonly faults: readonly string[];
  /** What was found of lists, in words. */
  readonly found: string;
  /** Serial numbers of the chain's authorities that an authentic list names, current or not. */
  readonly revoked: readonly string[];
}

/** Asks every list by the ARK about the authorities of a chain. Lists by others have no bearing on it. */
export async function askRevocationLists(question: RevocationQuestion): Promise<RevocationAnswer> {
  const { ark, authorities, lists, at } = question;
  const ours = lists.filter(({ issuer }) => sameName(issuer.attributes, ark.subject.attributes));
  const readings = await Promise.all(ours.map((list) => read(list, question)));
  const authentic = readings.filter(({ fault }) => fault === undefined);
  const fitting = authentic.filter(({ fits }) => fits).map(({ list }) => list);
  const current = fitting.find((list) => isCurrentList(list, at));
  const faults = readings.flatMap(({ fault }) => fault ?? []);
  const unused = lists.length - fitting.length - faults.length;
  const words = [
    ...(current === undefined ? fitting : [current]).map(listText),
    ...faults,
    ...(unused > 0 && current === undefined
      ? [`${unused} by another issuer or for another kind of key`]
      : []),
  ];
  return {
    current: current !== undefined,
    faults,
    found: words.join('; ') || 'no list',
    revoked: authentic.flatMap(({ list }) =>
      list.revoked
        .filter(({ serial }) => authorities.some((each) => each.serial === serial))
        .map(({ serial, revokedAt }) => `serial 0x${serial.toString(16)}, revoked ${timeText(revokedAt)}`),
    ),
  };
}

interface Reading {
  readonly list: OfferedRevocationList;
  /** Why a list that claims to be the ARK's cannot be used. */
  readonly fault?: string;
  /** It covers the authorities of this kind of key. */
  readonly fits: boolean;
}

async function read(list: OfferedRevocationList, question: RevocationQuestion): Promise<Reading> {
  const { publicKey } = question.ark;
  const unusable = (why: string) => ({
    list,
    fits: false,
    fault: `one of ${timeText(list.thisUpdate)} ${why}`,
  });
  const signed =
    'modulus' in publicKey &&
    sameAlgorithm(list.signatureAlgorithm, question.signatureAlgorithm) &&
    (await isSignedWith(list, publicKey));
  if (!signed) return unusable('that the ARK did not sign');
  const stranger = [...list.extensions, ...list.revoked.flatMap(({ extensions }) => extensions)].find(
    ({ oid, critical }) => critical && oid !== oids.issuingDistributionPoint,
  );
  if (stranger !== undefined) return unusable(`with the critical extension ${oidName(stranger.oid)}`);
  try {
    const scopes = list.extensions.filter(({ oid }) => oid === oids.issuingDistributionPoint);
    const uris = scopes.map(parseListScope).flatMap((scope) => scope.uris);
    const named = uris.length === 0 || uris.includes(question.uri);
    return { list, fits: named && (list.covers ?? question.kind) === question.kind };
  } catch (error) {
    if (!(error instanceof VouchsafeError)) throw error;
    return unusable(`whose scope cannot be read: ${error.message}`);
  }
}

function listText({ thisUpdate, nextUpdate }: X509RevocationList): string {
  const end =
    nextUpdate === undefined ? 'without a next one announced' : `the next due ${timeText(nextUpdate)}`;
  return `one of ${timeText(thisUpdate)}, ${end}`;
}
