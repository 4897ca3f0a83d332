import {
  bitsField,
  bytesField,
  type EndorsementKeySelection,
  endorsementKeySelections,
  guestFieldSelectBits,
  keyRootBits,
  MalformedError,
  reserved,
  structure,
  u32,
  u64,
} from '@vouchsafe/sev';
import type { DerivedKeyField, DerivedKeyRequest } from '../attestation/attestation-device.js';

const magic = new TextEncoder().encode('VCHSEAL1');

/**
 * The head of a sealed file. It says which key to derive, never the key: who may read it learns what the file is bound
 * to. The content follows, as long as it was.
 */
export const sealedFileHead = structure(
  { name: 'sealed file', size: 0x60, source: 'Vouchsafe, packages/guest/src/sealing/sealed-format.ts' },
  {
    magic: bytesField(0x00, 8, '“VCHSEAL1”', { default: magic }),
    root: bitsField(0x08, keyRootBits, 'what the key is derived from'),
    vmpl: u32(0x0c, 'privilege level of the key'),
    fields: bitsField(0x10, guestFieldSelectBits, 'what of the guest the key depends on'),
    guestSvn: u32(0x18, 'security version of the key'),
    reserved1c: reserved(0x1c, 4),
    tcbVersion: u64(0x20, 'TCB version of the key, as a little-endian number'),
    launchMitigationVector: u64(0x28, 'mitigations of the key'),
    salt: bytesField(0x30, 16, 'salt of HKDF-SHA-256, which makes the file’s key of the derived key'),
    iv: bytesField(0x40, 12, 'nonce of AES-256-GCM'),
    reserved4c: reserved(0x4c, 4),
    tag: bytesField(0x50, 16, 'tag of AES-256-GCM over the 80 bytes before it and the content'),
  },
);

/** Where the tag begins: what is before it is authenticated. */
export const authenticatedSize: number = sealedFileHead.offsetOf('tag');

/** A request for a derived key in which nothing is left to the asker. */
export type CompleteKeyRequest = {
  readonly [K in keyof DerivedKeyRequest]-?: Exclude<DerivedKeyRequest[K], undefined>;
};

/** What a sealed file needs to be opened. */
export interface SealedFile {
  readonly request: CompleteKeyRequest;
  /** 16 bytes. */
  readonly salt: Uint8Array;
  /** 12 bytes. */
  readonly iv: Uint8Array;
  /** 16 bytes. */
  readonly tag: Uint8Array;
  /** What the tag covers besides the content. */
  readonly authenticated: Uint8Array;
  readonly ciphertext: Uint8Array;
}

/** Whether a file begins as sealed files do. */
export function isSealedFile(bytes: Uint8Array): boolean {
  return bytes.length >= magic.length && magic.every((byte, i) => byte === bytes[i]);
}

/**
 * Reads a sealed file, without a key.
 * @throws MalformedError for what is none
 */
export function parseSealedFile(bytes: Uint8Array, name: string = sealedFileHead.name): SealedFile {
  if (!isSealedFile(bytes)) {
    throw new MalformedError({
      structure: name,
      field: 'magic',
      offset: 0,
      expected: 'a sealed file',
      found: 'other bytes',
    });
  }
  const head = sealedFileHead.parseAt(bytes, 0, { offset: 0, path: name });
  const { salt, iv, tag, vmpl, fields, guestSvn, tcbVersion, launchMitigationVector } = head;
  if (vmpl > 3) refuse(name, 'vmpl', '0 to 3', vmpl);
  const selections = Object.keys(endorsementKeySelections) as EndorsementKeySelection[];
  const keySelection = selections.find((each) => endorsementKeySelections[each] === head.root.keySelection);
  if (keySelection === undefined) return refuse(name, 'root', 'key 0, 1 or 2', head.root.keySelection);
  const root = head.root.vmrk ? 'VMRK' : 'VEK';
  return {
    request: { root, keySelection, fields, vmpl, guestSvn, tcbVersion, launchMitigationVector },
    salt,
    iv,
    tag,
    authenticated: head.raw.slice(0, authenticatedSize),
    ciphertext: bytes.slice(sealedFileHead.size),
  };
}

/** The head of a file under a request's key, with a tag of zeros. */
export function buildSealedHead(
  request: CompleteKeyRequest,
  random: { readonly salt: Uint8Array; readonly iv: Uint8Array },
): Uint8Array {
  const { root, keySelection, fields, ...numbers } = request;
  return sealedFileHead.build({
    ...numbers,
    ...random,
    root: { vmrk: root === 'VMRK', keySelection: endorsementKeySelections[keySelection] },
    fields: { ...guestFieldSelectBits.parse(0n), ...fields },
    tag: new Uint8Array(16),
  });
}

const fieldTexts: Readonly<Record<DerivedKeyField, (request: CompleteKeyRequest) => string>> = {
  policy: () => 'the guest policy',
  imageId: () => 'the image id of the ID block',
  familyId: () => 'the family id of the ID block',
  measurement: () => 'the launch digest',
  guestSvn: ({ guestSvn }) => `a guest security version of at least ${guestSvn}`,
  tcbVersion: ({ tcbVersion }) => `a committed TCB version of at least 0x${tcbVersion.toString(16)}`,
  launchMitigationVector: ({ launchMitigationVector }) =>
    `the mitigations 0x${launchMitigationVector.toString(16)}`,
};

/** What a guest must be to derive the key, in words. */
export function describeKeyRequest(request: CompleteKeyRequest): readonly string[] {
  const chosen = (Object.keys(fieldTexts) as DerivedKeyField[]).filter(
    (field) => request.fields[field] === true,
  );
  return [
    request.root === 'VMRK'
      ? 'the root key of the guest and its migration agent'
      : rootTexts[request.keySelection],
    `privilege level ${request.vmpl} or a higher one`,
    'the host data and the ID key of the launch',
    ...chosen.map((field) => fieldTexts[field](request)),
  ];
}

const rootTexts: Readonly<Record<EndorsementKeySelection, string>> = {
  'VLEK-or-VCEK': 'the chip, or the operator’s key (VLEK) where one is loaded',
  VCEK: 'the chip',
  VLEK: 'the operator’s key (VLEK)',
};

function refuse(name: string, field: 'vmpl' | 'root', expected: string, found: number): never {
  const offset = sealedFileHead.offsetOf(field);
  throw new MalformedError({ structure: name, field, offset, expected, found: String(found) });
}
