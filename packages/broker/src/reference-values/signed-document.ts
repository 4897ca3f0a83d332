import { fromBase64Url, parseStrictJson } from '@vouchsafe/protocol';
import {
  type Appraisal,
  Appraiser,
  InvalidArgumentError,
  timeText,
  VouchsafeError,
  verdict,
} from '@vouchsafe/sev';
import { CompactSign, compactVerify, decodeProtectedHeader, importJWK, type JWK } from 'jose';
import { type ReferenceCheck, referenceChecks } from './checks.js';
import { parseReferenceDocument, type ReferenceDocument } from './document.js';

/** The `typ` of a signed document's header: a signature that was made for anything else is not one of these. */
export const referenceMediaType = 'vouchsafe-reference-values+jws';

/** Somebody who may say which software is good. */
export interface ReferenceIssuer {
  /** As documents name it: `releases@example.org`. */
  readonly name: string;
  /** Public keys, Ed25519 or P-256. More than one while keys change. */
  readonly keys: readonly JWK[];
}

/** Bytes of a signed document: room for some ten thousand digests. */
const largestDocument = 4_194_304;

/**
 * Signs a document: a compact JWS (RFC 7515), EdDSA or ES256.
 * @param key private JWK, Ed25519 or P-256
 * @throws InvalidArgumentError for a document that the broker would refuse, or another kind of key
 */
export async function signReferenceDocument(document: ReferenceDocument, key: JWK): Promise<string> {
  const checked = parseReferenceDocument(document);
  const alg = algorithmOf(key);
  if (alg === undefined || key.d === undefined)
    throw new InvalidArgumentError('key', 'expected a private JWK, Ed25519 or P-256');
  const payload = new TextEncoder().encode(JSON.stringify(checked));
  const header = { alg, typ: referenceMediaType };
  return new CompactSign(payload).setProtectedHeader(header).sign(await importJWK(key, alg));
}

/** A signed document, and what was made of it. */
export interface VerifiedReference {
  readonly appraisal: Appraisal;
  /** Only when the Appraisal is accepted. */
  readonly document?: ReferenceDocument;
}

/**
 * Verifies a signed document at a moment. One whose period has not begun is good, and not yet in force.
 * @param now milliseconds since 1970
 * @param highest version of this issuer and name that is known; left out, there is none, or it was looked at elsewhere
 */
export async function verifyReferenceDocument(
  text: string,
  issuers: readonly ReferenceIssuer[],
  now: number,
  highest?: (document: ReferenceDocument) => Promise<number>,
): Promise<VerifiedReference> {
  const appraiser = new Appraiser('reference values', referenceChecks);
  const document = await examine(text, issuers, appraiser);
  if (document !== undefined) {
    const { notBefore, notAfter, version } = document;
    appraiser.report('reference.validity', now <= Date.parse(notAfter), {
      expected: `a period that is not over at ${timeText(now)}`,
      found: `${notBefore} to ${notAfter}`,
    });
    const known = (await highest?.(document)) ?? 0;
    appraiser.report('reference.version', version > known, {
      expected: `version ${known + 1} or higher`,
      found: `version ${version}`,
    });
  } else appraiser.abandon('not examined');
  const appraisal = appraiser.finish();
  return document !== undefined && verdict(appraisal).accepted ? { appraisal, document } : { appraisal };
}

/** The document that an issuer's key signed; undefined when a check failed. */
export async function examine(
  text: string,
  issuers: readonly ReferenceIssuer[],
  appraiser: Pick<Appraiser<ReferenceCheck>, 'report'>,
): Promise<ReferenceDocument | undefined> {
  const read = readUnverified(text);
  const expected = 'a compact JWS, EdDSA or ES256, over reference values';
  if (typeof read === 'string') {
    appraiser.report('reference.format', false, { expected, found: read });
    return undefined;
  }
  const { document, alg } = read;
  appraiser.report('reference.format', true, {
    expected,
    found: `${alg}, ${document.name} ${document.version}`,
  });
  const issuer = issuers.find(({ name }) => name === document.issuer);
  const known = appraiser.report('reference.issuer', issuer !== undefined, {
    expected: issuers.map(({ name }) => name).join(' or ') || 'an issuer, but none is trusted',
    found: document.issuer,
  });
  if (!known || issuer === undefined) return undefined;
  const keys = issuer.keys.filter((key) => algorithmOf(key) === alg);
  const signed = await anyVerifies(text, keys, alg);
  appraiser.report('reference.signature', signed, {
    expected: `a valid signature by ${issuer.name}`,
    found: signed ? 'a valid signature' : `none by a key of its ${keys.length} for ${alg}`,
  });
  return signed ? document : undefined;
}

async function anyVerifies(text: string, keys: readonly JWK[], alg: string): Promise<boolean> {
  for (const jwk of keys) {
    const { d: _private, ...key } = jwk;
    const verified = await compactVerify(text, await importJWK(key, alg), { algorithms: [alg] }).then(
      () => true,
      () => false,
    );
    if (verified) return true;
  }
  return false;
}

/** What a document says before anybody vouches for it, or in words why it says nothing. */
function readUnverified(text: string): { document: ReferenceDocument; alg: string } | string {
  if (text.length > largestDocument) return `more than ${largestDocument} bytes`;
  const parts = text.split('.');
  const [, payload = '', signature = ''] = parts;
  if (parts.length !== 3)
    return text.trimStart().startsWith('{') ? 'JSON that nobody signed' : 'text that is no JWS';
  try {
    const { alg = 'none', typ, crit } = decodeProtectedHeader(text);
    if (!algorithms.includes(alg) || signature === '') return `the algorithm ${alg}`;
    if (typ !== referenceMediaType) return `the type ${typ}`;
    if (crit !== undefined) return 'a critical header';
    const json = new TextDecoder('utf-8', { fatal: true }).decode(fromBase64Url(payload, 'payload'));
    return { document: parseReferenceDocument(parseStrictJson('reference values', json)), alg };
  } catch (error) {
    if (error instanceof VouchsafeError || error instanceof TypeError) return error.message;
    throw error;
  }
}

const algorithms = ['EdDSA', 'ES256'];

/** The one algorithm of a kind of key. */
function algorithmOf({ kty, crv }: JWK): 'EdDSA' | 'ES256' | undefined {
  if (kty === 'OKP' && crv === 'Ed25519') return 'EdDSA';
  return kty === 'EC' && crv === 'P-256' ? 'ES256' : undefined;
}
