import { fromHex } from '../bytes.js';
import { InvalidArgumentError } from '../errors.js';
import { type ReportExpectations, requireExpectations } from './expectations.js';
import { snpGuestPolicyBits } from './guest-policy.js';
import { snpPlatformInfoBits } from './platform-info.js';
import type { ReportAllowances } from './report-appraisal.js';
import { duplicateMember } from './strict-json.js';
import { tcbComponents } from './tcb-version.js';

/** What a policy file says: spread it into the options of `verifyReport`. */
export interface ReportPolicy extends ReportAllowances {
  readonly expectations: ReportExpectations;
}

/**
 * Reads a policy file: one JSON object with the members of {@link ReportExpectations} and of {@link ReportAllowances}
 * by the same names. Bytes are hexadecimal text, lists are arrays, `mitigations` are hexadecimal text with `0x`.
 *
 * ```json
 * {
 *   "measurements": ["8922ebbd…"],
 *   "vmpl": 0,
 *   "policy": { "smt": false },
 *   "minimumTcb": { "reported": { "bootloader": 4, "snp": 24, "microcode": 217 } },
 *   "platformInfo": { "aliasCheckComplete": true },
 *   "allowProvisional": true
 * }
 * ```
 * @throws InvalidArgumentError naming the member: one that is unknown, comes twice or has another kind of value
 */
export function parseReportPolicy(text: string): ReportPolicy {
  const twice = duplicateMember(text);
  if (twice !== undefined) throw new InvalidArgumentError(`policy file: ${twice}`, 'comes twice');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new InvalidArgumentError('policy file', 'is not JSON', { cause });
  }
  const { allowDebug, allowMigrationAgent, allowProvisional, ...expectations } = policyFile(
    value,
    'policy file',
  );
  requireExpectations(expectations);
  return {
    expectations,
    ...(allowDebug === undefined ? {} : { allowDebug }),
    ...(allowMigrationAgent === undefined ? {} : { allowMigrationAgent }),
    ...(allowProvisional === undefined ? {} : { allowProvisional }),
  };
}

/** Reads one value of a policy file; `path` names it in errors. */
type Reader<T> = (value: unknown, path: string) => T;

const wrong = (path: string, expected: string): never => {
  throw new InvalidArgumentError(path, `expected ${expected}`);
};

const boolean: Reader<boolean> = (value, path) =>
  typeof value === 'boolean' ? value : wrong(path, 'true or false');

const number: Reader<number> = (value, path) =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
    ? value
    : wrong(path, 'a whole number');

const text: Reader<string> = (value, path) => (typeof value === 'string' ? value : wrong(path, 'text'));

const bytes: Reader<Uint8Array> = (value, path) => fromHex(text(value, path), path);

const vector: Reader<bigint> = (value, path) => {
  const digits = text(value, path);
  return /^0x[0-9a-fA-F]{1,16}$/.test(digits)
    ? BigInt(digits)
    : wrong(path, 'hexadecimal text that begins 0x');
};

function choice<const T extends string>(...names: readonly T[]): Reader<T> {
  return (value, path) => names.find((name) => name === value) ?? wrong(path, names.join(' or '));
}

function list<T>(read: Reader<T>): Reader<T[]> {
  return (value, path) =>
    Array.isArray(value) ? value.map((each, i) => read(each, `${path}[${i}]`)) : wrong(path, 'an array');
}

type ObjectOf<R extends Record<string, Reader<unknown>>> = {
  readonly [K in keyof R]?: ReturnType<R[K]>;
};

/** An object with these members and no others; all may be left out. */
function object<R extends Record<string, Reader<unknown>>>(readers: R): Reader<ObjectOf<R>> {
  return (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return wrong(path, 'an object');
    const members = Object.entries(value).map(([name, member]) => {
      const read = Object.hasOwn(readers, name) ? readers[name] : undefined;
      if (read === undefined)
        throw new InvalidArgumentError(`${path}: ${name}`, 'is unknown', didYouMean(readers));
      return [name, read(member, `${path}: ${name}`)];
    });
    return Object.fromEntries(members) as ObjectOf<R>;
  };
}

function didYouMean(readers: Record<string, unknown>) {
  return { hint: `known are ${Object.keys(readers).join(', ')}` };
}

/** All or nothing: an object with both numbers. */
const version: Reader<{ readonly major: number; readonly minor: number }> = (value, path) => {
  const { major, minor } = object({ major: number, minor: number })(value, path);
  return major === undefined || minor === undefined ? wrong(path, 'major and minor') : { major, minor };
};

type FlagNames<T extends { readonly ranges: object }> = keyof T['ranges'] & string;

/** The flags of a word by their names; other ranges, and the bit that is always one, are left out. */
function flags<T extends typeof snpGuestPolicyBits | typeof snpPlatformInfoBits>({ ranges }: T) {
  const names = Object.entries(ranges).filter(([name, { kind }]) => kind === 'flag' && name !== 'mustBeOne');
  return object(
    Object.fromEntries(names.map(([name]) => [name, boolean])) as Record<FlagNames<T>, typeof boolean>,
  );
}

const tcb = object(
  Object.fromEntries(tcbComponents.map((name) => [name, number])) as Record<
    (typeof tcbComponents)[number],
    typeof number
  >,
);

const policyFile = object({
  reportData: bytes,
  measurements: list(bytes),
  hostData: bytes,
  requireIdBlock: boolean,
  requireAuthorKey: boolean,
  idKeyDigests: list(bytes),
  authorKeyDigests: list(bytes),
  familyId: bytes,
  imageId: bytes,
  minimumGuestSvn: number,
  vmpl: number,
  signingKey: choice('VCEK', 'VLEK'),
  minimumReportVersion: number,
  reportId: bytes,
  reportIdMa: bytes,
  requireChipId: boolean,
  chipIds: list(bytes),
  deniedChipIds: list(bytes),
  productLines: list(choice('Milan', 'Genoa', 'Turin', 'Venice')),
  cspIds: list(text),
  minimumAbi: version,
  policy: flags(snpGuestPolicyBits),
  minimumTcb: object({ reported: tcb, committed: tcb, launch: tcb, current: tcb }),
  minimumBuild: number,
  minimumVersion: version,
  mitigations: object({ launch: vector, current: vector }),
  platformInfo: flags(snpPlatformInfoBits),
  refuseUnknownPlatformBits: boolean,
  allowDebug: boolean,
  allowMigrationAgent: boolean,
  allowProvisional: boolean,
} satisfies Record<keyof ReportExpectations | keyof ReportAllowances, Reader<unknown>>);
