import { toHex } from '../bytes.js';
import type { HashName } from '../crypto/types.js';
import { InvalidArgumentError } from '../errors.js';
import {
  type AmdCaCertificate,
  bodyDigest,
  type CaUsage,
  type ModulusBits,
  parseAmdCaCertificate,
} from './ca-certificate.js';

/** The processor generations, oldest first; each has an ARK and an ASK of its own. */
export const generations = ['naples', 'rome', 'milan', 'genoa', 'turin'] as const;
export type Generation = (typeof generations)[number];

/** A trust anchor, as data: one root key of one generation, and what the rules under it are. */
export interface PlatformRoot {
  /** `AMD, Milan` or `Vouchsafe Development, Milan`. */
  readonly name: string;
  readonly kind: 'amd' | 'development';
  readonly generation: Generation;
  /** Digest of the ARK certificate's body, lower-case hexadecimal. */
  readonly arkFingerprint: string;
  /** Lower-case hexadecimal. */
  readonly arkKeyId: string;
  /** Lower-case hexadecimal. */
  readonly askKeyId: string;
  /** Of the ARK and the ASK. */
  readonly modulusBits: ModulusBits;
  /** Of signatures by the ARK and the ASK, and of the fingerprint. */
  readonly hash: HashName;
  /** Of the ARK and the ASK. */
  readonly exponent: number;
}

function amd(
  generation: Generation,
  arkKeyId: string,
  askKeyId: string,
  arkFingerprint: string,
): PlatformRoot {
  return { ...rulesOf('amd', generation), arkFingerprint, arkKeyId, askKeyId };
}

/** AMD's roots, one a generation. Source: the certificates that AMD's key service hands out. */
export const amdPlatformRoots: readonly PlatformRoot[] = [
  amd(
    'naples',
    '1bb987c359494606b174945601c9ea5b',
    'e139970cfc464377ae61b289e2f9e96e',
    '8efddcaaf84990cf6354d93637be270220cf15797332b3d918c3b8cc77349f31',
  ),
  amd(
    'rome',
    'e6002122fb58419399d15fee7b131351',
    'c6cbcf145b3146f498e40ecb4ad4fded',
    '3d2c1157c29ef7bd4207fc0c8b08db080e579ceba267f8c93bec8dce73f5a5e2e60d959ac37ea82176c1a0c61ae203ed',
  ),
  amd(
    'milan',
    '94c38e4177d0479292a7ae671d083fb6',
    '73478c05cc174bfeb06e718fa75dc3c8',
    '569da618dfe64015c343db6d975e77b72fdeacd16edd02d9d09b889b8f0f1d91ffa5dfbd86f7ac574a1a7883b7a1e737',
  ),
  amd(
    'genoa',
    '9f9d4a8fe761456599f6946c4c010f3a',
    'acbb4ad21acc436fb3e932f812cd01b0',
    'b66e16ff0ebeed57f0c4dffa154872c4156f2e5b1c2f4e66e58fc37f1d2a60d31a342ecb6430a9b2510a970c75c37926',
  ),
  amd(
    'turin',
    'd05c3a8bde484904b49552422ceb3942',
    '15051693f7304d65a527b4a7f3f7cb77',
    '712a28007da1097e8c4fd3a2e8655012b27e04042323a0a30e111fc0cf698961040c6fc3ff2053abe70432cfef411a0e',
  ),
];

/**
 * The trust anchor of a development root, from its ARK certificate.
 * @throws MalformedError; InvalidArgumentError when the certificate does not name itself a development ARK
 */
export async function developmentPlatformRoot(arkBytes: Uint8Array): Promise<PlatformRoot> {
  const ark = parseAmdCaCertificate(arkBytes, { offset: 0, path: 'development root' });
  const identity = caIdentity(ark);
  if (identity?.kind !== 'development' || identity.usage !== 'ARK' || ark.usage !== 'ARK') {
    throw new InvalidArgumentError(
      'development root',
      `expected a Vouchsafe Development ARK, found ${caName(ark)}`,
      {
        hint: 'AMD’s roots are trusted without naming them; a development root is made by `vouchsafe kds serve`',
      },
    );
  }
  const rules = rulesOf('development', identity.generation);
  if (rules.modulusBits !== ark.modulusBits) {
    const expected = `a key of ${rules.modulusBits} bits, as ${titleOf(identity.generation)} has`;
    throw new InvalidArgumentError('development root', `expected ${expected}, found ${ark.modulusBits}`);
  }
  const askKeyId = toHex(developmentKeyId('ASK', identity.generation));
  return { ...rules, arkFingerprint: await bodyDigest(ark), arkKeyId: toHex(ark.keyId), askKeyId };
}

/** The key id of a development CA: 16 bytes of ASCII that name it, `VouchsafeDev1ARK` for Naples to `…5…` for Turin. */
export function developmentKeyId(usage: CaUsage, generation: Generation): Uint8Array {
  return new TextEncoder().encode(`VouchsafeDev${generations.indexOf(generation) + 1}${usage}`);
}

export interface CaIdentity {
  readonly kind: 'amd' | 'development';
  readonly generation: Generation;
  readonly usage: CaUsage;
}

/** Who a CA certificate says it is, by its key id: a claim, until its signature and its root have been checked. */
export function caIdentity(certificate: Pick<AmdCaCertificate, 'keyId'>): CaIdentity | undefined {
  return identities.get(toHex(certificate.keyId));
}

/** The same claim in words: `AMD ASK, Milan`, or the key id of a stranger. */
export function caName(certificate: Pick<AmdCaCertificate, 'keyId' | 'usage'>): string {
  const identity = caIdentity(certificate);
  if (identity === undefined)
    return `an unknown ${certificate.usage} with key id ${toHex(certificate.keyId)}`;
  return `${vendors[identity.kind]} ${identity.usage}, ${titleOf(identity.generation)}`;
}

const vendors = { amd: 'AMD', development: 'Vouchsafe Development' } as const;

const identities = new Map<string, CaIdentity>(
  amdPlatformRoots.flatMap(({ generation, arkKeyId, askKeyId }): [string, CaIdentity][] => [
    [arkKeyId, { kind: 'amd', generation, usage: 'ARK' }],
    [askKeyId, { kind: 'amd', generation, usage: 'ASK' }],
    [toHex(developmentKeyId('ARK', generation)), { kind: 'development', generation, usage: 'ARK' }],
    [toHex(developmentKeyId('ASK', generation)), { kind: 'development', generation, usage: 'ASK' }],
  ]),
);

function rulesOf(kind: 'amd' | 'development', generation: Generation) {
  const size =
    generation === 'naples'
      ? ({ modulusBits: 2048, hash: 'sha256' } as const)
      : ({ modulusBits: 4096, hash: 'sha384' } as const);
  return {
    name: `${{ amd: 'AMD', development: 'Vouchsafe Development' }[kind]}, ${titleOf(generation)}`,
    kind,
    generation,
    exponent: 65537,
    ...size,
  };
}

/** `Milan` for `milan`. */
export function titleOf(generation: Generation): string {
  return generation.charAt(0).toUpperCase() + generation.slice(1);
}
