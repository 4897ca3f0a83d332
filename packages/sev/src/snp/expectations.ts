import { isZero } from '../bytes.js';
import { InvalidArgumentError } from '../errors.js';
import type { SnpGuestPolicyFields } from './guest-policy.js';
import type { SnpPlatformInfoFields } from './platform-info.js';
import { isProductLine, type ProductLine } from './product-line.js';
import type { SigningKey } from './signer-info.js';
import { type TcbVersion, tcbComponents } from './tcb-version.js';

/** The flags of a guest policy that may be demanded set (true) or clear (false). */
export type PolicyExpectations = {
  readonly [K in Exclude<keyof SnpGuestPolicyFields, 'mustBeOne' | 'abiMajor' | 'abiMinor'>]?:
    | boolean
    | undefined;
};

/** The flags of PLATFORM_INFO that may be demanded set (true) or clear (false). */
export type PlatformExpectations = {
  readonly [K in keyof SnpPlatformInfoFields]?: boolean | undefined;
};

/** Components that are left out are not compared. */
export type TcbFloor = { readonly [K in keyof TcbVersion]?: number | undefined };

/**
 * What a caller wants of a report. Each member that is given becomes one check, and all must pass; one that is left out
 * is listed as not asked. A list passes when one of its members fits; an empty list never does.
 */
export interface ReportExpectations {
  /** 64 bytes: what the guest was asked to put in, such as a fresh nonce. */
  readonly reportData?: Uint8Array | undefined;
  /** Launch digests, 48 bytes each. */
  readonly measurements?: readonly Uint8Array[] | undefined;
  /** 32 bytes. */
  readonly hostData?: Uint8Array | undefined;
  /** The guest was launched with an ID block. */
  readonly requireIdBlock?: boolean | undefined;
  /** The ID key was signed by an author key. */
  readonly requireAuthorKey?: boolean | undefined;
  /** Digests of ID keys, 48 bytes each. */
  readonly idKeyDigests?: readonly Uint8Array[] | undefined;
  /** Digests of author keys, 48 bytes each. Of a report under one of them, any ID key passes. */
  readonly authorKeyDigests?: readonly Uint8Array[] | undefined;
  /** 16 bytes. */
  readonly familyId?: Uint8Array | undefined;
  /** 16 bytes. */
  readonly imageId?: Uint8Array | undefined;
  readonly minimumGuestSvn?: number | undefined;
  /** 0 to 3, compared for equality. */
  readonly vmpl?: number | undefined;
  readonly signingKey?: Exclude<SigningKey, 'none'> | undefined;
  readonly minimumReportVersion?: number | undefined;
  /** 32 bytes. */
  readonly reportId?: Uint8Array | undefined;
  /** 32 bytes. */
  readonly reportIdMa?: Uint8Array | undefined;
  /** The chip id is not masked. */
  readonly requireChipId?: boolean | undefined;
  /** 64 bytes each, or the 8 that Turin uses. A report that masks its chip id is none of them. */
  readonly chipIds?: readonly Uint8Array[] | undefined;
  /** The same. A report whose chip cannot be told, by itself or by its VCEK, is refused. An empty list asks nothing. */
  readonly deniedChipIds?: readonly Uint8Array[] | undefined;
  readonly productLines?: readonly ProductLine[] | undefined;
  /** Cloud operators of a VLEK, as the certificate has them: `CN=cc-us-east-2.amazonaws.com`. */
  readonly cspIds?: readonly string[] | undefined;
  /** Least ABI version that the guest's policy demands of firmware. */
  readonly minimumAbi?: { readonly major: number; readonly minor: number } | undefined;
  readonly policy?: PolicyExpectations | undefined;
  readonly minimumTcb?:
    | { readonly [K in 'reported' | 'committed' | 'launch' | 'current']?: TcbFloor | undefined }
    | undefined;
  /** Of the firmware that runs. */
  readonly minimumBuild?: number | undefined;
  /** Of the firmware that runs. */
  readonly minimumVersion?: { readonly major: number; readonly minor: number } | undefined;
  /** Mitigation vectors: every bit that is set here must be set in the report, which has them since version 5. */
  readonly mitigations?:
    | { readonly launch?: bigint | undefined; readonly current?: bigint | undefined }
    | undefined;
  readonly platformInfo?: PlatformExpectations | undefined;
  /** Refuses bits of PLATFORM_INFO without a published meaning. Genuine Turin chips set one. */
  readonly refuseUnknownPlatformBits?: boolean | undefined;
}

const lengths = {
  reportData: 64,
  measurements: 48,
  hostData: 32,
  idKeyDigests: 48,
  authorKeyDigests: 48,
  familyId: 16,
  imageId: 16,
  reportId: 32,
  reportIdMa: 32,
} as const satisfies Partial<Record<keyof ReportExpectations, number>>;
type BytesExpectation = keyof typeof lengths;

/** Bytes in which a list may not be all zero: that would fit every report without an ID block or with a masked chip. */
const neverZero = ['idKeyDigests', 'authorKeyDigests', 'chipIds', 'deniedChipIds'] as const;

/**
 * Refuses expectations that no report could meet, or that more reports would meet than the caller can have meant.
 * @throws InvalidArgumentError naming the expectation
 */
export function requireExpectations(expectations: ReportExpectations): void {
  for (const name of Object.keys(lengths) as BytesExpectation[]) {
    for (const bytes of list(expectations[name])) {
      if (bytes.length !== lengths[name])
        refuse(name, `expected ${lengths[name]} bytes, found ${bytes.length}`);
    }
  }
  for (const name of ['chipIds', 'deniedChipIds'] as const) {
    for (const { length } of expectations[name] ?? []) {
      if (length !== 8 && length !== 64) refuse(name, `expected 64 bytes, or 8 for Turin, found ${length}`);
    }
  }
  for (const name of neverZero) {
    if (expectations[name]?.some(isZero)) refuse(name, 'all zero stands for none');
  }
  for (const name of expectations.productLines ?? []) {
    if (!isProductLine(name)) refuse('productLines', `${name} is no product line`);
  }
  for (const [which, floor = { snp: 0 }] of Object.entries(expectations.minimumTcb ?? {})) {
    const empty = Object.values(floor).every((value) => value === undefined);
    if (empty) refuse(`minimumTcb.${which}`, 'names no component');
  }
  for (const { name, value, most } of numbersOf(expectations)) {
    if (!Number.isInteger(value) || value < 0 || value > most)
      refuse(name, `expected a whole number from 0 to ${most}, found ${value}`);
  }
  for (const name of ['launch', 'current'] as const) {
    const vector = expectations.mitigations?.[name] ?? 0n;
    if (vector < 0n || vector >= 1n << 64n) refuse(`mitigations.${name}`, 'expected 64 bits');
  }
}

function* numbersOf({ minimumTcb = {}, ...expectations }: ReportExpectations) {
  const { minimumGuestSvn, vmpl, minimumReportVersion, minimumBuild, minimumAbi, minimumVersion } =
    expectations;
  const rows: readonly (readonly [name: string, value: number | undefined, most: number])[] = [
    ['minimumGuestSvn', minimumGuestSvn, 0xffff_ffff],
    ['vmpl', vmpl, 3],
    ['minimumReportVersion', minimumReportVersion, 0xffff_ffff],
    ['minimumBuild', minimumBuild, 255],
    ['minimumAbi.major', minimumAbi?.major, 255],
    ['minimumAbi.minor', minimumAbi?.minor, 255],
    ['minimumVersion.major', minimumVersion?.major, 255],
    ['minimumVersion.minor', minimumVersion?.minor, 255],
    ...Object.entries(minimumTcb).flatMap(([which, floor = {}]) =>
      tcbComponents.map((part) => [`minimumTcb.${which}.${part}`, floor[part], 255] as const),
    ),
  ];
  for (const [name, value, most] of rows) if (value !== undefined) yield { name, value, most };
}

function list(value: Uint8Array | readonly Uint8Array[] | undefined): readonly Uint8Array[] {
  if (value === undefined) return [];
  return value instanceof Uint8Array ? [value] : value;
}

function refuse(argument: string, message: string): never {
  throw new InvalidArgumentError(argument, message);
}
