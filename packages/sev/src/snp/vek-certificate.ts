import { MalformedError } from '../errors.js';
import type { X509Certificate } from '../x509/certificate.js';
import { type DerReader, readDer } from '../x509/der.js';
import { tags } from '../x509/der-tags.js';
import { derInteger, derText } from '../x509/der-writer.js';
import type { NewExtension, X509Extension } from '../x509/extension.js';
import { oidName, oids } from '../x509/oid.js';
import { derTextOf } from '../x509/text.js';
import { isProductLine, type ProductLine } from './product-line.js';
import { type TcbLayout, type TcbVersion, tcbLayout } from './tcb-version.js';

/** VCEK: the chip's own key. VLEK: one that AMD gave to a cloud operator for its chips. */
export type VekKind = 'VCEK' | 'VLEK';

/** What AMD certifies about a VEK (VCEK certificate and KDS interface specification, chapter 3). */
export interface Vek {
  readonly kind: VekKind;
  readonly line: ProductLine;
  /** As it stands, `Milan-B0` or `Turin`. Its stepping means nothing: Milan's is B0 on every chip. */
  readonly productName: string;
  /** The versions that the key is derived for. */
  readonly tcb: TcbVersion;
  /** VCEK only: the chip's id, 64 bytes, or 8 on Turin and later. */
  readonly hwid?: Uint8Array;
  /** VLEK only: the cloud operator, such as `CN=cc-us-east-2.amazonaws.com`. */
  readonly cspId?: string;
}

const structure = 'VEK certificate extensions';
const structVersions = { milan: 0, turin: 1 } as const satisfies Record<TcbLayout, number>;
const hwidLengths = { milan: 64, turin: 8 } as const satisfies Record<TcbLayout, number>;
const maximumText = 128;

/** Under AMD's arc: the number, and where the extension stands, in the order of certificates of structure version 0. */
const vekExtensions = {
  structVersion: ['1', 'always'],
  productName1: ['2', 'always'],
  fmcSPL: ['3.9', 'turin'],
  blSPL: ['3.1', 'always'],
  teeSPL: ['3.2', 'always'],
  spl4: ['3.4', 'milan'],
  spl5: ['3.5', 'always'],
  spl6: ['3.6', 'always'],
  spl7: ['3.7', 'always'],
  snpSPL: ['3.3', 'always'],
  ucodeSPL: ['3.8', 'always'],
  hwID: ['4', 'VCEK'],
  cspID: ['5', 'VLEK'],
} as const satisfies Record<string, readonly [string, 'always' | TcbLayout | VekKind]>;
type VekExtension = keyof typeof vekExtensions;
const extensionNames = Object.keys(vekExtensions) as VekExtension[];
const oidOf = (name: VekExtension) => `${oids.amdVek}.${vekExtensions[name][0]}`;

/** Security versions that stand for bytes of the TCB version which must be zero. */
const zeros: readonly VekExtension[] = ['spl4', 'spl5', 'spl6', 'spl7'];

/**
 * Reads the extensions of a VCEK's or VLEK's certificate. Every one that belongs to its kind and structure version is
 * there once and none beside them. Signatures and names are other checks.
 * @throws MalformedError naming the extension
 */
export function parseVek(certificate: Pick<X509Certificate, 'extensions'>): Vek {
  const found = collect(certificate.extensions);
  const kind = found.has('cspID') ? 'VLEK' : 'VCEK';
  const { line, productName } = readProduct(demand(found, 'productName1'));
  const layout = tcbLayout(line);
  const version = demand(found, 'structVersion');
  const structVersion = readSmallNumber('structVersion', version);
  if (structVersion !== structVersions[layout])
    throw refuse('structVersion', version, `${structVersions[layout]}, as ${line} has`, `${structVersion}`);
  for (const name of extensionNames) {
    const presence = vekExtensions[name][1];
    const belongs = presence === 'always' || presence === layout || presence === kind;
    if (belongs) demand(found, name);
    else if (found.has(name)) throw refuse(name, found.get(name), `none in a ${kind} of ${line}`, 'one');
  }
  for (const name of zeros) {
    const value = found.has(name) ? readSmallNumber(name, demand(found, name)) : 0;
    if (value !== 0) throw refuse(name, found.get(name), '0', `${value}`);
  }
  const component = (name: VekExtension) => readSmallNumber(name, demand(found, name));
  return {
    kind,
    line,
    productName,
    tcb: {
      ...(layout === 'turin' ? { fmc: component('fmcSPL') } : {}),
      bootloader: component('blSPL'),
      tee: component('teeSPL'),
      snp: component('snpSPL'),
      microcode: component('ucodeSPL'),
    },
    ...(kind === 'VCEK'
      ? { hwid: readHwid(demand(found, 'hwID'), hwidLengths[layout]) }
      : { cspId: readText('cspID', demand(found, 'cspID')) }),
  };
}

type Found = ReadonlyMap<VekExtension, X509Extension>;

function collect(extensions: readonly X509Extension[]): Found {
  const found = new Map<VekExtension, X509Extension>();
  for (const extension of extensions) {
    const name = extensionNames.find((each) => oidOf(each) === extension.oid);
    if (name === undefined)
      throw refuse('list', extension, 'extensions of a VEK', `the extension ${oidName(extension.oid)}`);
    if (found.has(name)) throw refuse(name, extension, 'it once', 'it twice');
    if (extension.critical) throw refuse(name, extension, 'an extension that is not critical', 'it critical');
    found.set(name, extension);
  }
  return found;
}

function demand(found: Found, name: VekExtension): X509Extension {
  const extension = found.get(name);
  if (extension === undefined) throw refuse(name, undefined, 'the extension', 'none');
  return extension;
}

function refuse(field: string, extension: X509Extension | undefined, expected: string, found: string) {
  return new MalformedError({ structure, field, offset: extension?.offset ?? 0, expected, found });
}

function read<T>(name: VekExtension, { value, offset }: X509Extension, work: (reader: DerReader) => T): T {
  return readDer(value, { structure, path: name, offset, maximumSize: maximumText }, work);
}

/** 0 to 255: an INTEGER of one content octet, or of two from 128 on. */
function readSmallNumber(name: VekExtension, extension: X509Extension): number {
  const value = Number(read(name, extension, (reader) => reader.integer('value', 2)));
  if (value > 255) throw refuse(name, extension, '0 to 255', `${value}`);
  return value;
}

function readText(name: VekExtension, extension: X509Extension): string {
  return read(name, extension, (reader) => {
    const element = reader.element('value', tags.ia5String);
    const text = derTextOf(element);
    if (text === undefined || text === '') throw refuse(name, extension, 'printable ASCII', 'other content');
    return text;
  });
}

function readProduct(extension: X509Extension): { readonly line: ProductLine; readonly productName: string } {
  const productName = readText('productName1', extension);
  const [line = '', stepping, ...more] = productName.split('-');
  if (!isProductLine(line) || more.length > 0 || (stepping !== undefined && !/^[A-Z][0-9]$/.test(stepping)))
    throw refuse('productName1', extension, 'a product line, with a stepping or without', productName);
  return { line, productName };
}

/**
 * The chip's id stands raw, or as an OCTET STRING in certificates of 2023. The length tells which: a raw id may itself
 * begin like an OCTET STRING.
 */
function readHwid(extension: X509Extension, length: number): Uint8Array {
  const { value } = extension;
  if (value.length === length) return value;
  if (value.length !== length + 2) {
    const expected = `${length} bytes, raw or in an OCTET STRING`;
    throw refuse('hwID', extension, expected, `${value.length} bytes`);
  }
  return read('hwID', extension, (reader) => reader.octetString('value'));
}

/**
 * The extensions of a VEK's certificate, as AMD writes them: for a development authority.
 * @throws InvalidArgumentError when a number is negative
 */
export function vekExtensionsOf(vek: Omit<Vek, 'kind'>): NewExtension[] {
  const { tcb, hwid, cspId } = vek;
  const layout = tcbLayout(vek.line);
  const values: Partial<Record<VekExtension, Uint8Array>> = {
    structVersion: derInteger(structVersions[layout]),
    productName1: derText(tags.ia5String, vek.productName),
    blSPL: derInteger(tcb.bootloader),
    teeSPL: derInteger(tcb.tee),
    snpSPL: derInteger(tcb.snp),
    ...(layout === 'milan' ? { spl4: derInteger(0) } : {}),
    spl5: derInteger(0),
    spl6: derInteger(0),
    spl7: derInteger(0),
    ucodeSPL: derInteger(tcb.microcode),
    ...(tcb.fmc === undefined ? {} : { fmcSPL: derInteger(tcb.fmc) }),
    ...(hwid === undefined ? {} : { hwID: hwid }),
    ...(cspId === undefined ? {} : { cspID: derText(tags.ia5String, cspId) }),
  };
  return extensionNames.flatMap((name) => {
    const value = values[name];
    return value === undefined ? [] : [{ oid: oidOf(name), value }];
  });
}
