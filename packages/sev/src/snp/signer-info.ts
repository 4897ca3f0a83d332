import { type BitValues, bitRange, bits, flag } from '../codec/bits.js';
import type { Location } from '../codec/field.js';
import { MalformedError } from '../errors.js';

const ranges = {
  authorKeyEnabled: flag(0, 'AUTHOR_KEY_EN', 'the guest’s ID key was signed by an author key'),
  maskChipKey: flag(1, 'MASK_CHIP_KEY', 'the host keeps the chip’s own key from signing reports'),
  signingKey: bitRange(2, 3, 'SIGNING_KEY', 'key that signed: 0 VCEK, 1 VLEK, 7 none'),
};

/** SIGNER_INFO of an attestation report, in newer text KEY_INFO. */
export const signerInfoBits = bits(
  { name: 'SIGNER_INFO', width: 32, source: 'SEV-SNP firmware ABI, SIGNER_INFO', reserved: 'refuse' },
  ranges,
);

/** The keys that sign reports: the chip's own (VCEK), one lent by the cloud's operator (VLEK), or none. */
export const signingKeys = { VCEK: 0, VLEK: 1, none: 7 } as const;
export type SigningKey = keyof typeof signingKeys;

export type SignerInfoFields = BitValues<typeof ranges>;
export interface SignerInfo {
  readonly authorKeyEnabled: boolean;
  readonly maskChipKey: boolean;
  readonly signingKey: SigningKey;
}

/**
 * Names the signing key of parsed bits.
 * @throws MalformedError for a reserved value
 */
export function signerInfoOf(fields: SignerInfoFields, location: Location = { offset: 0 }): SignerInfo {
  const signingKey = (Object.keys(signingKeys) as SigningKey[]).find(
    (name) => signingKeys[name] === fields.signingKey,
  );
  if (signingKey !== undefined) return { ...fields, signingKey };
  throw new MalformedError({
    structure: location.path ?? signerInfoBits.name,
    field: ranges.signingKey.label,
    offset: location.offset,
    expected: '0 VCEK, 1 VLEK or 7 none',
    found: String(fields.signingKey),
  });
}

/** @throws MalformedError for reserved bits and reserved values; InvalidArgumentError for more than 32 bits */
export function parseSignerInfo(word: number, location?: Location): SignerInfo {
  return signerInfoOf(signerInfoBits.parse(word, location), location);
}

export function buildSignerInfo(info: SignerInfo): number {
  return Number(signerInfoBits.build({ ...info, signingKey: signingKeys[info.signingKey] }));
}
