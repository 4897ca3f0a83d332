import { type Appraisal, Appraiser } from '../appraisal/appraisal.js';
import { equalBytes, toHex } from '../bytes.js';
import { isOnP384 } from '../crypto/index.js';
import { type ApiVersion, apiAtLeast, apiVersionText } from './api-version.js';
import type { PlatformChain } from './bundle.js';
import { type AmdCaCertificate, bodyDigest, isCaSignedBy } from './ca-certificate.js';
import {
  type KeyUsage,
  p384KeyOf,
  parseSevCertificate,
  type SevCertificate,
  type SignatureSlot,
  sevCertificate,
  signedBytes,
} from './certificate.js';
import { algorithmOf, findSignature } from './certificate-signature.js';
import { type PlatformChainCheck, platformChainChecks } from './chain-checks.js';
import { howToGet, untrustedHint } from './chain-hints.js';
import { caName, type PlatformRoot } from './roots.js';

export interface PlatformChainOptions {
  /** The roots to trust, and no others: AMD's, or one development root; both kinds only on purpose. */
  readonly roots: readonly PlatformRoot[];
  /** Certificate (2084 bytes) of the owner that the platform must have. */
  readonly owner?: Uint8Array | undefined;
  /** The CEK (2084 bytes) as the chip exports it. Left out, one that came with the chain is used. */
  readonly exportedCek?: Uint8Array | undefined;
  /** Least API version of the firmware that made the PEK. */
  readonly minimumApi?: ApiVersion | undefined;
}

/**
 * Verifies PDH ← PEK ← OCA and CEK, OCA ← OCA, CEK ← ASK ← ARK ← ARK down to a root that the caller trusts. The
 * Appraisal names that root only when every check of authenticity passed. Nothing is fetched: what is missing fails.
 * @throws MalformedError when `owner` or `exportedCek` is not a certificate
 */
export async function verifyPlatformChain(
  chain: PlatformChain,
  options: PlatformChainOptions,
): Promise<Appraisal> {
  const verification = new ChainVerification(chain, await trustedRoot(chain.ark, options.roots));
  await Promise.all([
    verification.verifyRoot(options.roots),
    verification.verifyAuthorities(),
    verification.verifyChip(parseOption(options.exportedCek, 'exported CEK') ?? chain.exportedCek),
    verification.verifyOwner(parseOption(options.owner, 'required owner')),
    verification.verifyPlatform(options.minimumApi),
    verification.verifySlots(),
  ]);
  return verification.finish();
}

function parseOption(bytes: Uint8Array | undefined, path: string): SevCertificate | undefined {
  return bytes === undefined ? undefined : parseSevCertificate(bytes, { offset: 0, path });
}

async function trustedRoot(ark: AmdCaCertificate | undefined, roots: readonly PlatformRoot[]) {
  if (ark === undefined) return undefined;
  const fingerprint = await bodyDigest(ark);
  return roots.find(({ arkFingerprint }) => arkFingerprint === fingerprint);
}

type SevRole = 'pdh' | 'pek' | 'oca' | 'cek';
type CaRole = 'ask' | 'ark';
type Role = SevRole | CaRole;
type Given<R extends Role> = { readonly [K in R]-?: NonNullable<PlatformChain[K]> };

interface Result {
  readonly passed: boolean;
  readonly found: string;
  readonly hint?: string;
}

/** One verification: the chain, the root it leads to if it is trusted, and the results so far. */
class ChainVerification {
  readonly #chain: PlatformChain;
  readonly #root: PlatformRoot | undefined;
  readonly #appraiser = new Appraiser('platform certificate chain', platformChainChecks);

  constructor(chain: PlatformChain, root: PlatformRoot | undefined) {
    this.#chain = chain;
    this.#root = root;
  }

  async verifyRoot(roots: readonly PlatformRoot[]): Promise<void> {
    const trusted = roots.map(({ name }) => name).join('; ') || 'a root, but none was given to trust';
    await this.#check('chain.ark.root', ['ark'], trusted, async ({ ark }) => {
      const found = `${caName(ark)}, fingerprint ${await bodyDigest(ark)}`;
      const hint = this.#root === undefined ? untrustedHint(ark, roots) : undefined;
      return { passed: this.#root !== undefined, found, ...(hint === undefined ? {} : { hint }) };
    });
  }

  async verifyAuthorities(): Promise<void> {
    for (const role of ['ark', 'ask'] as const) {
      await this.#checkUsage(role, role === 'ark' ? 'ARK' : 'ASK');
      await this.#checkKey(role);
    }
    await this.#check('chain.ark.certifying-id', ['ark'], 'its own key id', ({ ark }) =>
      sameId(ark.certifyingId, ark.keyId),
    );
    await this.#check('chain.ask.certifying-id', ['ask', 'ark'], 'the key id of the ARK', ({ ask, ark }) =>
      sameId(ask.certifyingId, ark.keyId),
    );
    const generation =
      this.#root === undefined ? 'the generation of a trusted ARK' : `an ASK of ${this.#root.name}`;
    await this.#check('chain.ask.generation', ['ask', 'ark'], generation, ({ ask }) => ({
      passed: this.#root !== undefined && this.#root.askKeyId === toHex(ask.keyId),
      found: caName(ask),
    }));
    await this.#check('chain.ark.self-signature', ['ark'], 'a valid signature by itself', async ({ ark }) =>
      signatureResult(await isCaSignedBy(ark, ark)),
    );
    await this.#check(
      'chain.ask.ark-signature',
      ['ask', 'ark'],
      'a valid signature by the ARK',
      async ({ ask, ark }) => signatureResult(await isCaSignedBy(ask, ark)),
    );
  }

  async verifyChip(exported: SevCertificate | undefined): Promise<void> {
    await this.#checkUsage('cek', 'CEK');
    await this.#checkSignature('chain.cek.ask-signature', 'cek', 'ask');
    if (exported === undefined) {
      this.#appraiser.notAsked(
        'chain.cek.exported',
        'give the chain as the host exports it beside AMD’s signed CEK',
      );
      return;
    }
    const expected = `the key ${keyDigits(exported)}, which the chip exports`;
    await this.#check('chain.cek.exported', ['cek'], expected, ({ cek }) => ({
      passed: equalBytes(keyBytes(cek), keyBytes(exported)),
      found: `the key ${keyDigits(cek)}`,
    }));
  }

  async verifyOwner(required: SevCertificate | undefined): Promise<void> {
    await this.#checkUsage('oca', 'OCA');
    await this.#checkSignature('chain.oca.self-signature', 'oca', 'oca');
    if (required === undefined) {
      this.#appraiser.notAsked(
        'chain.oca.pinned',
        'any owner will do, unless the owner’s certificate is given',
      );
      return;
    }
    await this.#check('chain.oca.pinned', ['oca'], `the OCA with key ${keyDigits(required)}`, ({ oca }) => ({
      passed: equalBytes(signedBytes(oca), signedBytes(required)),
      found: `the OCA with key ${keyDigits(oca)}`,
    }));
  }

  async verifyPlatform(minimum: PlatformChainOptions['minimumApi']): Promise<void> {
    await this.#checkUsage('pek', 'PEK');
    await this.#checkUsage('pdh', 'PDH');
    await this.#checkSignature('chain.pek.oca-signature', 'pek', 'oca');
    await this.#checkSignature('chain.pek.cek-signature', 'pek', 'cek');
    await this.#checkSignature('chain.pdh.pek-signature', 'pdh', 'pek');
    await this.#check('chain.pdh.key', ['pdh'], 'a point on P-384', async ({ pdh }) => {
      const passed = await isOnP384(p384KeyOf(pdh));
      return { passed, found: passed ? 'a point on P-384' : 'coordinates off the curve' };
    });
    if (minimum === undefined) {
      this.#appraiser.notAsked('chain.pek.api', 'any firmware will do, unless a least API version is given');
      return;
    }
    await this.#check('chain.pek.api', ['pek'], `${apiVersionText(minimum)} or later`, ({ pek }) => ({
      passed: apiAtLeast(pek, minimum),
      found: apiVersionText(pek),
    }));
  }

  async verifySlots(): Promise<void> {
    const names = ['pdh', 'pek', 'oca', 'cek'] as const;
    await this.#check('chain.slots', names, 'no signer but those of the hierarchy', (given) => {
      const strangers = names.flatMap((name) =>
        given[name].signatures
          .filter((slot) => slot.kind !== 'empty' && !this.#isSigner(name, slot))
          .map((slot) => `${name.toUpperCase()} also signed by ${slot.usage} with ${slot.algorithm}`),
      );
      return { passed: strangers.length === 0, found: strangers.join(', ') || 'none other' };
    });
  }

  /**
   * Whether a slot is one that the check of its signer reads. One that names a signer with an algorithm which is not the
   * signer's is read by none, and could hold anything.
   */
  #isSigner(signed: SevRole, slot: SignatureSlot): boolean {
    return signers[signed].some((role) => {
      const signer = this.#chain[role];
      const names = slot.usage === role.toUpperCase();
      return names && (signer === undefined || slot.algorithm === algorithmOf(signer));
    });
  }

  finish(): Appraisal {
    const appraisal = this.#appraiser.finish();
    const authentic = appraisal.checks.every(
      ({ kind, status }) => kind === 'expectation' || status === 'pass',
    );
    if (!authentic || this.#root === undefined) return appraisal;
    const { name, kind, arkFingerprint } = this.#root;
    return { ...appraisal, root: { name, kind, fingerprint: arkFingerprint } };
  }

  /** Runs a check over certificates of the chain. It fails when one of them is missing. */
  async #check<R extends Role>(
    id: PlatformChainCheck,
    roles: readonly R[],
    expected: string,
    work: (given: Given<R>) => Result | Promise<Result>,
  ): Promise<void> {
    const missing = roles.find((role) => this.#chain[role] === undefined);
    if (missing === undefined) {
      await this.#appraiser.attempt(id, expected, async () => work(this.#chain as Given<R>));
    } else {
      const found = `no ${missing.toUpperCase()} certificate was given`;
      this.#appraiser.report(id, false, { expected, found, hint: howToGet[missing] });
    }
  }

  #checkUsage(role: Role, usage: KeyUsage): Promise<void> {
    const kind = keyKinds[role];
    const expected = kind === undefined ? usage : `${usage} with an ${kind} key`;
    return this.#check(`chain.${role}.usage`, [role], expected, (given) => {
      const certificate: SevCertificate | AmdCaCertificate = given[role];
      if ('modulusBits' in certificate)
        return { passed: certificate.usage === usage, found: certificate.usage };
      const { algorithm } = certificate;
      const fits = kind !== undefined && algorithm.startsWith(kind);
      return { passed: certificate.usage === usage && fits, found: `${certificate.usage} with ${algorithm}` };
    });
  }

  #checkKey(role: CaRole): Promise<void> {
    const root = this.#root;
    const expected =
      root === undefined ? 'what a trusted root demands' : rsaKind(root.modulusBits, BigInt(root.exponent));
    return this.#check(`chain.${role}.key`, [role], expected, (given) => {
      const { modulusBits, publicKey } = given[role];
      const found = rsaKind(modulusBits, BigInt(`0x${toHex(publicKey.exponent)}`));
      return { passed: found === expected, found };
    });
  }

  #checkSignature(id: PlatformChainCheck, role: SevRole, signer: SevRole | 'ask'): Promise<void> {
    return this.#check(
      id,
      [role, signer],
      `a valid signature by the ${signer.toUpperCase()}`,
      async (given) => {
        const certificate: SevCertificate = given[role];
        const { valid, found } = await findSignature(certificate, given[signer]);
        const unsigned = certificate.signatures.every(({ kind }) => kind === 'empty');
        return { passed: valid, found: unsigned ? 'no signature at all, as a chip exports it' : found };
      },
    );
  }
}

/** Who signs whom (SEV API, certificate hierarchy). */
const signers: Readonly<Record<SevRole, readonly Role[]>> = {
  pdh: ['pek'],
  pek: ['oca', 'cek'],
  oca: ['oca'],
  cek: ['ask'],
};

const keyKinds: Partial<Readonly<Record<Role, 'ECDSA' | 'ECDH'>>> = {
  pdh: 'ECDH',
  pek: 'ECDSA',
  oca: 'ECDSA',
  cek: 'ECDSA',
};

function sameId(found: Uint8Array, expected: Uint8Array): Result {
  return { passed: equalBytes(found, expected), found: toHex(found) };
}

function signatureResult(valid: boolean): Result {
  return { passed: valid, found: `the signature is ${valid ? 'valid' : 'not valid'}` };
}

function rsaKind(bits: number, exponent: bigint): string {
  return `RSA ${bits} bits, exponent ${exponent}`;
}

/** From the key's usage to the key's end: what a chip's own copy and AMD's signed copy have in common. */
function keyBytes(certificate: SevCertificate): Uint8Array {
  return certificate.raw.subarray(sevCertificate.offsetOf('publicKey'), signedBytes(certificate).length);
}

function keyDigits(certificate: SevCertificate): string {
  const { publicKey } = certificate;
  return `${toHex('x' in publicKey ? publicKey.x : publicKey.modulus).slice(0, 16)}…`;
}
