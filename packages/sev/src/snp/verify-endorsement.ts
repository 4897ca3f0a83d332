import { type Appraisal, Appraiser, type Finding, type RootOfTrust } from '../appraisal/appraisal.js';
import { isOnP384 } from '../crypto/index.js';
import { InvalidArgumentError } from '../errors.js';
import type { X509Certificate } from '../x509/certificate.js';
import { commonName, type NameAttribute, nameText, sameName } from '../x509/name.js';
import { publicKeyText, rsaKeyText } from '../x509/public-key.js';
import { isSignedWith, sameAlgorithm, signatureAlgorithmText } from '../x509/signature-algorithm.js';
import { timeText } from '../x509/time.js';
import { authorityExtensionFaults, authorityExtensionsText } from './authority-extensions.js';
import { type EndorsementChain, findEndorsementChain } from './endorsement-chain.js';
import {
  type EndorsementCheck,
  endorsementChecks,
  howToGetChain,
  howToGetList,
} from './endorsement-checks.js';
import { untrustedRootHint } from './endorsement-hints.js';
import {
  type AuthorityRole,
  claimedRules,
  type EndorsementRoot,
  type EndorsementRules,
} from './endorsement-rules.js';
import {
  askRevocationLists,
  type OfferedRevocationList,
  type RevocationMode,
  revocationListUri,
} from './revocation.js';
import { certificateFingerprint } from './trust-anchor.js';
import { parseVek, type Vek, type VekKind } from './vek-certificate.js';

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
  await verification.verifyRoot();
  await verification.verifyAuthority();
  await verification.verifyVek();
  await verification.verifyRevocation(evidence.crls ?? []);
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

type Role = 'ark' | 'ask' | 'vek';
type Given<R extends Role> = { readonly [K in R]-?: X509Certificate };

interface Result {
  readonly passed: boolean;
  readonly found: string;
  readonly hint?: string;
}

/** One verification: the chain, the rules it is held to, and what came of it so far. */
class EndorsementVerification {
  readonly #chain: Readonly<Partial<Record<Role, X509Certificate>>>;
  readonly #root: EndorsementRoot | undefined;
  /** Those of the trusted root; or of the one that an untrusted chain claims, so that its other faults show, too. */
  readonly #rules: EndorsementRules | undefined;
  readonly #options: EndorsementOptions;
  readonly #reporter: EndorsementReporter;
  /** What the VEK calls itself. */
  readonly #kind: VekKind;
  endorsed = true;
  vek: Vek | undefined;

  constructor(
    chain: EndorsementChain,
    root: EndorsementRoot | undefined,
    options: EndorsementOptions,
    reporter: EndorsementReporter,
  ) {
    const { vek, ask, ark } = chain;
    const claims = [ark?.subject, ask?.subject, vek.issuer].map((name) => name?.attributes ?? []);
    this.#chain = chain;
    this.#root = root;
    this.#rules = root ?? claimedRules(claims);
    this.#options = options;
    this.#reporter = reporter;
    this.#kind = commonName(vek.subject.attributes) === 'SEV-VLEK' ? 'VLEK' : 'VCEK';
  }

  async verifyRoot(): Promise<void> {
    const { roots } = this.#options;
    const trusted = roots.map(({ name }) => name).join('; ') || 'a root, but none was given to trust';
    await this.#check('endorsement.ark.root', ['ark'], trusted, async ({ ark }) => {
      const found = `${nameText(ark.subject.attributes)}, fingerprint ${await certificateFingerprint(ark)}`;
      const hint = this.#root === undefined ? untrustedRootHint(ark, roots) : undefined;
      return { passed: this.#root !== undefined, found, ...(hint === undefined ? {} : { hint }) };
    });
    await this.#checkNames('ark', ({ authorities: { ARK } }) => [ARK.subject, ARK.subject]);
    await this.#checkRsaKey('ark');
    await this.#checkExtensions('ark', () => 'ARK');
    await this.#checkValidity('ark');
    await this.#checkSignature('endorsement.ark.self-signature', 'ark', 'ark', 'itself');
  }

  /** The ASK of a VCEK, the ASVK of a VLEK. */
  async verifyAuthority(): Promise<void> {
    await this.#checkNames('ask', (rules) => [
      rules.authorities[rules.veks[this.#kind].issuer].subject,
      rules.authorities.ARK.subject,
    ]);
    await this.#check('endorsement.ask.serial', ['ask'], '1 or more', ({ ask }) => ({
      passed: ask.serial > 0n,
      found: `0x${ask.serial.toString(16)}`,
    }));
    await this.#checkRsaKey('ask');
    await this.#checkExtensions('ask', (rules) => rules.veks[this.#kind].issuer);
    await this.#checkValidity('ask');
    await this.#checkSignature('endorsement.ask.ark-signature', 'ask', 'ark', 'the ARK');
  }

  async verifyVek(): Promise<void> {
    const kind = this.#kind;
    await this.#checkNames('vek', (rules) => [
      rules.veks[kind].subject,
      rules.authorities[rules.veks[kind].issuer].subject,
    ]);
    await this.#checkByRules(
      'endorsement.vek.serial',
      ['vek'],
      (rules) => `0x${rules.veks[kind].serial.toString(16)}`,
      ({ vek }, rules) => ({
        passed: vek.serial === rules.veks[kind].serial,
        found: `0x${vek.serial.toString(16)}`,
      }),
    );
    await this.#check('endorsement.vek.key', ['vek'], 'a point on P-384', async ({ vek }) => {
      const { publicKey } = vek;
      if (!('x' in publicKey)) return { passed: false, found: publicKeyText(publicKey) };
      const passed = await isOnP384(publicKey);
      return { passed, found: passed ? 'a point on P-384' : 'coordinates off the curve' };
    });
    await this.#check('endorsement.vek.extensions', ['vek'], `those of a ${kind}, each once`, ({ vek }) => {
      const parsed = parseVek(vek);
      const passed = parsed.kind === kind;
      if (passed) this.vek = parsed;
      return { passed, found: `those of a ${parsed.kind}` };
    });
    await this.#checkByRules(
      'endorsement.vek.product',
      ['vek'],
      ({ line }) => line,
      (_, { line }) => ({
        passed: this.vek?.line === line,
        found: this.vek?.productName ?? 'extensions that were refused',
      }),
    );
    await this.#checkValidity('vek');
    await this.#checkSignature('endorsement.vek.ask-signature', 'vek', 'ask', `the ${this.#authorityName()}`);
  }

  async verifyRevocation(lists: readonly OfferedRevocationList[]): Promise<void> {
    const { revocation, at } = this.#options;
    if (revocation === 'skip') {
      this.#notAsked('endorsement.revocation-list', 'skipped, as asked: revoked keys are not found');
      this.#notAsked('endorsement.revocation', 'skipped, as asked: revoked keys are not found');
      return;
    }
    const { ark, ask } = this.#chain;
    const rules = this.#rules;
    if (ark === undefined || ask === undefined || rules === undefined) {
      const found = 'a chain that no list can be asked about';
      this.#report('endorsement.revocation-list', false, { expected: 'a list by the ARK', found });
      this.#report('endorsement.revocation', false, { expected: 'ARK and ASK or ASVK not revoked', found });
      return;
    }
    const kind = this.#kind;
    const uri = revocationListUri(rules, kind);
    const { signatureAlgorithm } = rules;
    const authorities = [ark, ask];
    const answer = await askRevocationLists({ ark, authorities, lists, kind, uri, signatureAlgorithm, at });
    const expected = `a list from ${uri}, signed by the ARK and current at ${timeText(at)}`;
    const { current, faults, found, revoked } = answer;
    if (current || faults.length > 0 || revocation === 'require')
      this.#report('endorsement.revocation-list', current && faults.length === 0, { expected, found });
    else this.#notAsked('endorsement.revocation-list', `no current list: ${found}; ${howToGetList}`);
    if (current || revoked.length > 0) {
      const finding = {
        expected: `not on the list: ${serials(authorities)}`,
        found: revoked.join('; ') || 'not listed',
      };
      this.#report('endorsement.revocation', revoked.length === 0, finding);
    } else this.#notAsked('endorsement.revocation', `no current list to ask; ${howToGetList}`);
  }

  #checkNames(role: Role, expected: (rules: EndorsementRules) => readonly [subject: Name, issuer: Name]) {
    return this.#checkByRules(
      `endorsement.${role}.name`,
      [role],
      (rules) => namesText(...expected(rules)),
      (given, rules) => {
        const { subject, issuer } = given[role];
        const [wantedSubject, wantedIssuer] = expected(rules);
        const passed =
          sameName(subject.attributes, wantedSubject) && sameName(issuer.attributes, wantedIssuer);
        return { passed, found: namesText(subject.attributes, issuer.attributes) };
      },
    );
  }

  #checkRsaKey(role: 'ark' | 'ask') {
    return this.#checkByRules(
      `endorsement.${role}.key`,
      [role],
      ({ modulusBits, exponent }) => rsaKeyText(modulusBits, exponent),
      (given, { modulusBits, exponent }) => {
        const found = publicKeyText(given[role].publicKey);
        return { passed: found === rsaKeyText(modulusBits, exponent), found };
      },
    );
  }

  #checkExtensions(role: 'ark' | 'ask', authority: (rules: EndorsementRules) => AuthorityRole) {
    return this.#checkByRules(
      `endorsement.${role}.extensions`,
      [role],
      (rules) => authorityExtensionsText(rules.authorities[authority(rules)]),
      (given, rules) => {
        const faults = authorityExtensionFaults(
          given[role],
          rules.authorities[authority(rules)],
          this.#chain.ark,
        );
        return { passed: faults.length === 0, found: faults.join('; ') || 'these, each once' };
      },
    );
  }

  #checkValidity(role: Role) {
    const { at } = this.#options;
    return this.#check(`endorsement.${role}.validity`, [role], `valid at ${timeText(at)}`, (given) => {
      const { notBefore, notAfter } = given[role];
      const found = `valid from ${timeText(notBefore)} to ${timeText(notAfter)}`;
      return { passed: notBefore <= at && at <= notAfter, found };
    });
  }

  #checkSignature(id: EndorsementCheck, role: Role, signer: Role, by: string) {
    return this.#checkByRules(
      id,
      [role, signer],
      ({ signatureAlgorithm }) => `a signature by ${by}, ${signatureAlgorithmText(signatureAlgorithm)}`,
      async (given, rules) => {
        const certificate = given[role];
        const { publicKey } = given[signer];
        const { signatureAlgorithm } = certificate;
        if (!sameAlgorithm(signatureAlgorithm, rules.signatureAlgorithm))
          return { passed: false, found: signatureAlgorithmText(signatureAlgorithm) };
        const passed = 'modulus' in publicKey && (await isSignedWith(certificate, publicKey));
        return { passed, found: `the signature is ${passed ? 'valid' : 'not valid'}` };
      },
    );
  }

  /** Runs a check that is held to the rules of the root. It fails when no root is known. */
  #checkByRules<R extends Role>(
    id: EndorsementCheck,
    roles: readonly R[],
    expected: (rules: EndorsementRules) => string,
    work: (given: Given<R>, rules: EndorsementRules) => Result | Promise<Result>,
  ): Promise<void> {
    const rules = this.#rules;
    if (rules !== undefined) return this.#check(id, roles, expected(rules), (given) => work(given, rules));
    const found = 'a chain that claims no root that is known';
    return this.#check(id, roles, 'what a trusted root demands', () => ({ passed: false, found }));
  }

  /** Runs a check over certificates of the chain. It fails when one of them is missing. */
  async #check<R extends Role>(
    id: EndorsementCheck,
    roles: readonly R[],
    expected: string,
    work: (given: Given<R>) => Result | Promise<Result>,
  ): Promise<void> {
    const missing = roles.find((role) => this.#chain[role] === undefined);
    if (missing === undefined) {
      const given = this.#chain as Given<R>;
      const passed = await this.#reporter.attempt(id, expected, async () => work(given));
      this.endorsed = this.endorsed && passed;
    } else {
      const name = missing === 'ark' ? 'ARK' : this.#authorityName();
      const found = `no certificate of an ${name} was given`;
      this.#report(id, false, { expected, found, hint: howToGetChain });
    }
  }

  #report(id: EndorsementCheck, passed: boolean, finding: Finding): void {
    this.endorsed = this.#reporter.report(id, passed, finding) && this.endorsed;
  }

  #notAsked(id: EndorsementCheck, hint: string): void {
    this.#reporter.notAsked(id, hint);
  }

  #authorityName(): 'ASK' | 'ASVK' {
    return this.#kind === 'VLEK' ? 'ASVK' : 'ASK';
  }
}

type Name = readonly NameAttribute[];

const namesText = (subject: Name, issuer: Name) => `${nameText(subject)}; issued by ${nameText(issuer)}`;

const serials = (certificates: readonly X509Certificate[]) =>
  certificates.map(({ serial }) => `0x${serial.toString(16)}`).join(' and ');
