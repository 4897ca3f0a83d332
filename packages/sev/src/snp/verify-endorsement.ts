import { type Appraisal, Appraiser, type RootOfTrust } from '../appraisal/appraisal.js';
import { isOnP384 } from '../crypto/index.js';
import { InvalidArgumentError } from '../errors.js';
import type { X509Certificate } from '../x509/certificate.js';
import { nameText } from '../x509/name.js';
import { publicKeyText } from '../x509/public-key.js';
import { timeText } from '../x509/time.js';
import { findEndorsementChain } from './endorsement-chain.js';
import { type EndorsementCheck, endorsementChecks, howToGetList } from './endorsement-checks.js';
import { untrustedRootHint } from './endorsement-hints.js';
import type { EndorsementRoot } from './endorsement-rules.js';
import { EndorsementVerification } from './endorsement-verification.js';
import {
  askRevocationLists,
  type OfferedRevocationList,
  type RevocationMode,
  revocationListUri,
} from './revocation.js';
import { certificateFingerprint } from './trust-anchor.js';
import { parseVek, type Vek } from './vek-certificate.js';

export interface EndorsementEvidence {
  readonly vek: X509Certificate;
  /** ARK and ASK or ASVK, in any order; more than the chain needs does no harm. */
  readonly certificates: readonly X509Certificate[];
  readonly crls?: readonly OfferedRevocationList[];
}

export interface EndorsementOptions {
  /** The roots to trust, and no others: AMD's, or one development root; both kinds only on purpose. */
  readonly roots: readonly EndorsementRoot[];
  /** The date to verify at, milliseconds since 1970. */
  readonly at: number;
  readonly revocation: RevocationMode;
}

export interface EndorsementResult {
  /** Whether no check failed. */
  readonly endorsed: boolean;
  /** The trusted root that the ARK is; undefined when it is none. */
  readonly root: EndorsementRoot | undefined;
  /** What the VEK's certificate says; undefined when its extensions were refused. */
  readonly vek: Vek | undefined;
}

/** Takes the results of the checks: an Appraiser over a table that holds {@link endorsementChecks}, perhaps with more. */
export type EndorsementReporter = Pick<Appraiser<EndorsementCheck>, 'report' | 'notAsked' | 'attempt'>;

/**
 * Verifies VCEK ← ASK ← ARK or VLEK ← ASVK ← ARK down to a root that the caller trusts, at a date, and asks revocation
 * lists. Every check of {@link endorsementChecks} is reported once. Nothing is fetched: what is missing fails.
 * @throws InvalidArgumentError when the date is not a number of milliseconds
 */
export async function verifyEndorsement(
  evidence: EndorsementEvidence,
  options: EndorsementOptions,
  reporter: EndorsementReporter,
): Promise<EndorsementResult> {
  if (!(Math.abs(options.at) <= 8.64e15)) throw new InvalidArgumentError('at', 'is not a date');
  const chain = await findEndorsementChain(evidence.vek, evidence.certificates);
  const root = await trustedRoot(chain.ark, options.roots);
  const verification = new EndorsementVerification(chain, root, options, reporter);
  await Promise.all([
    verifyRoot(verification),
    verifyAuthority(verification),
    verifyVek(verification),
    verifyRevocation(verification, evidence.crls ?? []),
  ]);
  return { endorsed: verification.endorsed, root, vek: verification.vek };
}

/** The same as an Appraisal of its own, for a chain without a report. */
export async function appraiseEndorsement(
  evidence: EndorsementEvidence,
  options: EndorsementOptions,
): Promise<Appraisal> {
  const appraiser = new Appraiser('endorsement of a VEK', endorsementChecks);
  const { endorsed, root } = await verifyEndorsement(evidence, options, appraiser);
  return appraiser.finish(endorsed && root !== undefined ? rootOfTrust(root) : undefined);
}

/** How an Appraisal names a root. */
export function rootOfTrust({ name, kind, arkSha256 }: EndorsementRoot): RootOfTrust {
  return { name, kind, fingerprint: arkSha256 };
}

async function trustedRoot(ark: X509Certificate | undefined, roots: readonly EndorsementRoot[]) {
  if (ark === undefined) return undefined;
  const fingerprint = await certificateFingerprint(ark);
  return roots.find(({ arkSha256 }) => arkSha256 === fingerprint);
}

async function verifyRoot(verification: EndorsementVerification): Promise<void> {
  const { roots } = verification.options;
  const trusted = roots.map(({ name }) => name).join('; ') || 'a root, but none was given to trust';
  await verification.check('endorsement.ark.root', ['ark'], trusted, async ({ ark }) => {
    const found = `${nameText(ark.subject.attributes)}, fingerprint ${await certificateFingerprint(ark)}`;
    const hint = verification.root === undefined ? untrustedRootHint(ark, roots) : undefined;
    return { passed: verification.root !== undefined, found, ...(hint === undefined ? {} : { hint }) };
  });
  await verification.checkNames('ark', ({ authorities: { ARK } }) => [ARK.subject, ARK.subject]);
  await verification.checkRsaKey('ark');
  await verification.checkExtensions('ark', () => 'ARK');
  await verification.checkValidity('ark');
  await verification.checkSignature('endorsement.ark.self-signature', 'ark', 'ark', 'itself');
}

/** The ASK of a VCEK, the ASVK of a VLEK. */
async function verifyAuthority(verification: EndorsementVerification): Promise<void> {
  await verification.checkNames('ask', (rules) => [
    rules.authorities[rules.veks[verification.kind].issuer].subject,
    rules.authorities.ARK.subject,
  ]);
  await verification.check('endorsement.ask.serial', ['ask'], '1 or more', ({ ask }) => ({
    passed: ask.serial > 0n,
    found: `0x${ask.serial.toString(16)}`,
  }));
  await verification.checkRsaKey('ask');
  await verification.checkExtensions('ask', (rules) => rules.veks[verification.kind].issuer);
  await verification.checkValidity('ask');
  await verification.checkSignature('endorsement.ask.ark-signature', 'ask', 'ark', 'the ARK');
}

async function verifyVek(verification: EndorsementVerification): Promise<void> {
  const kind = verification.kind;
  await verification.checkNames('vek', (rules) => [
    rules.veks[kind].subject,
    rules.authorities[rules.veks[kind].issuer].subject,
  ]);
  await verification.checkByRules(
    'endorsement.vek.serial',
    ['vek'],
    (rules) => `0x${rules.veks[kind].serial.toString(16)}`,
    ({ vek }, rules) => ({
      passed: vek.serial === rules.veks[kind].serial,
      found: `0x${vek.serial.toString(16)}`,
    }),
  );
  await verification.check('endorsement.vek.key', ['vek'], 'a point on P-384', async ({ vek }) => {
    const { publicKey } = vek;
    if (!('x' in publicKey)) return { passed: false, found: publicKeyText(publicKey) };
    const passed = await isOnP384(publicKey);
    return { passed, found: passed ? 'a point on P-384' : 'coordinates off the curve' };
  });
  await verification.check(
    'endorsement.vek.extensions',
    ['vek'],
    `those of a ${kind}, each once`,
    ({ vek }) => {
      const parsed = parseVek(vek);
      const passed = parsed.kind === kind;
      if (passed) verification.vek = parsed;
      return { passed, found: `those of a ${parsed.kind}` };
    },
  );
  await verification.checkByRules(
    'endorsement.vek.product',
    ['vek'],
    ({ line }) => line,
    (_, { line }) => ({
      passed: verification.vek?.line === line,
      found: verification.vek?.productName ?? 'extensions that were refused',
    }),
  );
  await verification.checkValidity('vek');
  await verification.checkSignature(
    'endorsement.vek.ask-signature',
    'vek',
    'ask',
    `the ${verification.authorityName()}`,
  );
}

const skipped =
  'skipped, as asked: revoked keys are not found; ask with revocation: require, --revocation require';

async function verifyRevocation(
  verification: EndorsementVerification,
  lists: readonly OfferedRevocationList[],
): Promise<void> {
  const { revocation, at } = verification.options;
  if (revocation === 'skip') {
    verification.notAsked('endorsement.revocation-list', skipped);
    verification.notAsked('endorsement.revocation', skipped);
    return;
  }
  const { ark, ask } = verification.chain;
  const rules = verification.rules;
  if (ark === undefined || ask === undefined || rules === undefined) {
    const found = 'a chain that no list can be asked about';
    verification.report('endorsement.revocation-list', false, { expected: 'a list by the ARK', found });
    verification.report('endorsement.revocation', false, {
      expected: 'ARK and ASK or ASVK not revoked',
      found,
    });
    return;
  }
  const kind = verification.kind;
  const uri = revocationListUri(rules, kind);
  const { signatureAlgorithm } = rules;
  const authorities = [ark, ask];
  const answer = await askRevocationLists({ ark, authorities, lists, kind, uri, signatureAlgorithm, at });
  const expected = `a list from ${uri}, signed by the ARK and current at ${timeText(at)}`;
  const { current, faults, found, revoked } = answer;
  if (current || faults.length > 0 || revocation === 'require')
    verification.report('endorsement.revocation-list', current && faults.length === 0, { expected, found });
  else verification.notAsked('endorsement.revocation-list', `no current list: ${found}; ${howToGetList}`);
  if (current || revoked.length > 0) {
    const finding = {
      expected: `not on the list: ${serials(authorities)}`,
      found: revoked.join('; ') || 'not listed',
    };
    verification.report('endorsement.revocation', revoked.length === 0, finding);
  } else verification.notAsked('endorsement.revocation', `no current list to ask; ${howToGetList}`);
}

const serials = (certificates: readonly X509Certificate[]) =>
  certificates.map(({ serial }) => `0x${serial.toString(16)}`).join(' and ');
