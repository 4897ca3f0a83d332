import { Appraiser, RefusedError } from '../appraisal/appraisal.js';
import { concat, equalBytes, fromBase64 } from '../bytes.js';
import type { Location } from '../codec/field.js';
import { InvalidArgumentError, MalformedError, VouchsafeError } from '../errors.js';
import { type AmdCaCertificate, amdCaCertificates, parseAmdCaCertificate } from './ca-certificate.js';
import { keyUsages, parseSevCertificate, type SevCertificate, sevCertificate } from './certificate.js';
import { chainFileChecks } from './chain-checks.js';

/** The certificates of one platform, as far as they are at hand. */
export interface PlatformChain {
  readonly pdh?: SevCertificate;
  readonly pek?: SevCertificate;
  readonly oca?: SevCertificate;
  readonly cek?: SevCertificate;
  /** The CEK as the chip exports it, without AMD's signature, where it came beside the signed copy. */
  readonly exportedCek?: SevCertificate;
  readonly ask?: AmdCaCertificate;
  readonly ark?: AmdCaCertificate;
}

export interface ChainFile {
  /** Names the input in errors. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * Gathers the certificates of one platform from any usual packaging: single certificates; PEK‖OCA‖CEK; PDH‖PEK‖OCA‖CEK
 * (`sevctl export`), with ASK‖ARK (`--full`); ASK‖ARK; base64 of any of them; QMP's answer to `query-sev-capabilities`;
 * the JSON byte lists of the KBS protocol. The same certificate may come twice; a CEK may come once as the chip exports
 * it and once as AMD signed it.
 * @throws MalformedError for an input that is none of these; RefusedError for two certificates in one role
 */
export function parseChainFiles(inputs: readonly ChainFile[]): PlatformChain {
  const chain: Writable = {};
  for (const { name, bytes } of inputs) {
    for (const found of readFile(name, bytes)) add(chain, found, name);
  }
  return chain;
}

/**
 * What `sevctl export` writes: PDH‖PEK‖OCA‖CEK, with `full` also ASK‖ARK.
 * @throws InvalidArgumentError naming a certificate that is missing
 */
export function buildExport(
  chain: PlatformChain,
  { full = false }: { readonly full?: boolean } = {},
): Uint8Array {
  const names = full
    ? (['pdh', 'pek', 'oca', 'cek', 'ask', 'ark'] as const)
    : (['pdh', 'pek', 'oca', 'cek'] as const);
  const parts = names.map((name) => {
    const certificate = chain[name];
    if (certificate === undefined)
      throw new InvalidArgumentError('chain', `has no ${name.toUpperCase()} certificate`);
    return certificate.raw;
  });
  return concat(...parts);
}

type Writable = { -readonly [K in keyof PlatformChain]: PlatformChain[K] };
type Found =
  | { readonly role: 'pdh' | 'pek' | 'oca' | 'cek'; readonly certificate: SevCertificate }
  | { readonly role: 'ask' | 'ark'; readonly certificate: AmdCaCertificate };

const sevRoles = { PDH: 'pdh', PEK: 'pek', OCA: 'oca', CEK: 'cek' } as const;
const caRoles = { ASK: 'ask', ARK: 'ark' } as const;

function readFile(name: string, bytes: Uint8Array): Found[] {
  if (!isText(bytes)) return readSequence(bytes, name);
  const text = new TextDecoder().decode(bytes).trim();
  if (text.startsWith('{')) return readJson(text, name);
  return readSequence(decodeBase64(text, name), name);
}

/** Certificates begin with a version word that holds zeros; text never does. */
function isText(bytes: Uint8Array): boolean {
  return (
    bytes.length > 0 &&
    bytes.every((byte) => byte === 9 || byte === 10 || byte === 13 || (byte >= 32 && byte < 127))
  );
}

function decodeBase64(text: string, name: string): Uint8Array {
  try {
    return fromBase64(text, name);
  } catch (cause) {
    if (!(cause instanceof VouchsafeError)) throw cause;
    const evidence = {
      structure: name,
      field: 'text',
      offset: 0,
      expected: 'base64 or JSON',
      found: 'other text',
    };
    throw new MalformedError(evidence, { cause });
  }
}

function readSequence(bytes: Uint8Array, name: string): Found[] {
  if (bytes.length === 0) throw malformed(name, 'content', 0, 'certificates', 'nothing');
  const found: Found[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const next = readOne(bytes, offset, name);
    found.push(next);
    offset += next.certificate.raw.length;
  }
  return found;
}

function readOne(bytes: Uint8Array, offset: number, name: string): Found {
  const rest = bytes.subarray(offset);
  const word = (at: number) =>
    at + 4 <= rest.length ? new DataView(rest.buffer, rest.byteOffset).getUint32(at, true) : undefined;
  const usage = word(sevCertificate.offsetOf('usage'));
  if (Object.keys(sevRoles).some((role) => keyUsages[role as keyof typeof sevRoles] === usage)) {
    const location = { offset, path: `${name}, ${nameOf(usage)} certificate` };
    const certificate = parseSevCertificate(rest.subarray(0, sevCertificate.size), location);
    return { role: sevRoles[certificate.usage as keyof typeof sevRoles], certificate };
  }
  for (const layout of Object.values(amdCaCertificates)) {
    const isThis =
      word(layout.offsetOf('modulusBits')) === Number(layout.fields['modulusBits']?.defaultValue);
    if (!isThis || word(layout.offsetOf('version')) !== 1) continue;
    const location: Location = { offset, path: `${name}, AMD CA certificate` };
    const certificate = parseAmdCaCertificate(rest.subarray(0, layout.size), location);
    return { role: caRoles[certificate.usage], certificate };
  }
  const isZip = rest[0] === 0x50 && rest[1] === 0x4b;
  throw malformed(
    name,
    'certificate',
    offset,
    'an SEV or an AMD CA certificate',
    isZip ? 'a zip archive' : 'other bytes',
  );
}

function nameOf(usage: number | undefined): string {
  return Object.entries(keyUsages).find(([, value]) => value === usage)?.[0] ?? 'SEV';
}

/** Members that lead to certificates, and members that hold them. */
const containers = ['return', 'chain', 'ca', 'sev'];
const holders = ['pdh', 'cert-chain', 'pek', 'oca', 'cek', 'ask', 'ark'];

function readJson(text: string, name: string): Found[] {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    const evidence = {
      structure: name,
      field: 'text',
      offset: 0,
      expected: 'JSON',
      found: 'text that is no JSON',
    };
    throw new MalformedError(evidence, { cause });
  }
  const found = readMembers(document, name, 4);
  if (found.length === 0) throw malformed(name, 'members', 0, `one of ${holders.join(', ')}`, 'none of them');
  return found;
}

function readMembers(value: unknown, name: string, depth: number): Found[] {
  if (typeof value !== 'object' || value === null || depth === 0) return [];
  return Object.entries(value).flatMap(([key, member]) => {
    if (containers.includes(key)) return readMembers(member, name, depth - 1);
    if (!holders.includes(key)) return [];
    const label = `${name}, member ${key}`;
    if (typeof member === 'string') return readSequence(decodeBase64(member, label), label);
    return readSequence(byteList(member, label), label);
  });
}

function byteList(value: unknown, name: string): Uint8Array {
  const isByte = (each: unknown) => Number.isInteger(each) && Number(each) >= 0 && Number(each) <= 255;
  if (!Array.isArray(value) || !value.every(isByte)) {
    throw malformed(name, 'value', 0, 'base64 text or a list of bytes', 'something else');
  }
  return Uint8Array.from(value as number[]);
}

function malformed(
  structure: string,
  field: string,
  offset: number,
  expected: string,
  found: string,
): MalformedError {
  return new MalformedError({ structure, field, offset, expected, found });
}

function add(chain: Writable, found: Found, name: string): void {
  if (found.role === 'cek') {
    addCek(chain, found.certificate, name);
    return;
  }
  const present = chain[found.role];
  if (present !== undefined && !equalBytes(present.raw, found.certificate.raw)) throw twice(found.role, name);
  Object.assign(chain, { [found.role]: found.certificate });
}

/** The chip's own copy and AMD's signed copy may stand side by side; verification compares them. */
function addCek(chain: Writable, cek: SevCertificate, name: string): void {
  const isExported = (each: SevCertificate) => each.signatures.every((slot) => slot.kind === 'empty');
  const known = [chain.cek, chain.exportedCek].filter((each) => each !== undefined);
  const same = known.find((each) => isExported(each) === isExported(cek));
  if (same !== undefined) {
    if (!equalBytes(same.raw, cek.raw)) throw twice('cek', name);
    return;
  }
  const [present] = known;
  if (present === undefined) chain.cek = cek;
  else if (isExported(cek)) chain.exportedCek = cek;
  else {
    chain.exportedCek = present;
    chain.cek = cek;
  }
}

function twice(role: string, name: string): RefusedError {
  const appraiser = new Appraiser('platform certificates', chainFileChecks);
  const found = `${name} holds a second ${role.toUpperCase()} certificate that differs from the first`;
  appraiser.report('chain.roles', false, { expected: 'one certificate in each role', found });
  return new RefusedError(appraiser.finish());
}
