import type { Finding } from '../appraisal/appraisal.js';
import type { X509Certificate } from '../x509/certificate.js';
import { commonName, type NameAttribute, nameText, sameName } from '../x509/name.js';
import { publicKeyText, rsaKeyText } from '../x509/public-key.js';
import { isSignedWith, sameAlgorithm, signatureAlgorithmText } from '../x509/signature-algorithm.js';
import { timeText } from '../x509/time.js';
import { authorityExtensionFaults, authorityExtensionsText } from './authority-extensions.js';
import type { EndorsementChain } from './endorsement-chain.js';
import { type EndorsementCheck, howToGetChain } from './endorsement-checks.js';
import {
  type AuthorityRole,
  claimedRules,
  type EndorsementRoot,
  type EndorsementRules,
} from './endorsement-rules.js';
import type { Vek, VekKind } from './vek-certificate.js';
import type { EndorsementOptions, EndorsementReporter } from './verify-endorsement.js';

export type Role = 'ark' | 'ask' | 'vek';
export type Given<R extends Role> = { readonly [K in R]-?: X509Certificate };

export interface Result {
  readonly passed: boolean;
  readonly found: string;
  readonly hint?: string;
}

/** One verification: the chain, the rules it is held to, and what came of it so far. */
export class EndorsementVerification {
  readonly chain: Readonly<Partial<Record<Role, X509Certificate>>>;
  readonly root: EndorsementRoot | undefined;
  /** Those of the trusted root; or of the one that an untrusted chain claims, so that its other faults show, too. */
  readonly rules: EndorsementRules | undefined;
  readonly options: EndorsementOptions;
  readonly #reporter: EndorsementReporter;
  /** What the VEK calls itself. */
  readonly kind: VekKind;
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
    this.chain = chain;
    this.root = root;
    this.rules = root ?? claimedRules(claims);
    this.options = options;
    this.#reporter = reporter;
    this.kind = commonName(vek.subject.attributes) === 'SEV-VLEK' ? 'VLEK' : 'VCEK';
  }

  checkNames(role: Role, expected: (rules: EndorsementRules) => readonly [subject: Name, issuer: Name]) {
    return this.checkByRules(
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

  checkRsaKey(role: 'ark' | 'ask') {
    return this.checkByRules(
      `endorsement.${role}.key`,
      [role],
      ({ modulusBits, exponent }) => rsaKeyText(modulusBits, exponent),
      (given, { modulusBits, exponent }) => {
        const found = publicKeyText(given[role].publicKey);
        return { passed: found === rsaKeyText(modulusBits, exponent), found };
      },
    );
  }

  checkExtensions(role: 'ark' | 'ask', authority: (rules: EndorsementRules) => AuthorityRole) {
    return this.checkByRules(
      `endorsement.${role}.extensions`,
      [role],
      (rules) => authorityExtensionsText(rules.authorities[authority(rules)]),
      (given, rules) => {
        const faults = authorityExtensionFaults(
          given[role],
          rules.authorities[authority(rules)],
          this.chain.ark,
        );
        return { passed: faults.length === 0, found: faults.join('; ') || 'these, each once' };
      },
    );
  }

  checkValidity(role: Role) {
    const { at } = this.options;
    return this.check(`endorsement.${role}.validity`, [role], `valid at ${timeText(at)}`, (given) => {
      const { notBefore, notAfter } = given[role];
      const found = `valid from ${timeText(notBefore)} to ${timeText(notAfter)}`;
      return { passed: notBefore <= at && at <= notAfter, found };
    });
  }

  checkSignature(id: EndorsementCheck, role: Role, signer: Role, by: string) {
    return this.checkByRules(
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
  checkByRules<R extends Role>(
    id: EndorsementCheck,
    roles: readonly R[],
    expected: (rules: EndorsementRules) => string,
    work: (given: Given<R>, rules: EndorsementRules) => Result | Promise<Result>,
  ): Promise<void> {
    const rules = this.rules;
    if (rules !== undefined) return this.check(id, roles, expected(rules), (given) => work(given, rules));
    const found = 'a chain that claims no root that is known';
    return this.check(id, roles, 'what a trusted root demands', () => ({ passed: false, found }));
  }

  /** Runs a check over certificates of the chain. It fails when one of them is missing. */
  async check<R extends Role>(
    id: EndorsementCheck,
    roles: readonly R[],
    expected: string,
    work: (given: Given<R>) => Result | Promise<Result>,
  ): Promise<void> {
    const missing = roles.find((role) => this.chain[role] === undefined);
    if (missing === undefined) {
      const given = this.chain as Given<R>;
      const passed = await this.#reporter.attempt(id, expected, async () => work(given));
      this.endorsed = this.endorsed && passed;
    } else {
      const name = missing === 'ark' ? 'ARK' : this.authorityName();
      const found = `no certificate of an ${name} was given`;
      this.report(id, false, { expected, found, hint: howToGetChain });
    }
  }

  report(id: EndorsementCheck, passed: boolean, finding: Finding): void {
    this.endorsed = this.#reporter.report(id, passed, finding) && this.endorsed;
  }

  notAsked(id: EndorsementCheck, hint: string): void {
    this.#reporter.notAsked(id, hint);
  }

  authorityName(): 'ASK' | 'ASVK' {
    return this.kind === 'VLEK' ? 'ASVK' : 'ASK';
  }
}

export type Name = readonly NameAttribute[];

const namesText = (subject: Name, issuer: Name) => `${nameText(subject)}; issued by ${nameText(issuer)}`;
