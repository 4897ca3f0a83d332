import type { DerReader } from './der.js';
import { tags } from './der-tags.js';
import { derElement, derOid, derSequence, derText } from './der-writer.js';
import { oids } from './oid.js';
import { derTextOf } from './text.js';

/** One attribute of a distinguished name. */
export interface NameAttribute {
  /** `CN` and its like where the type has such a name, otherwise the dotted object identifier. */
  readonly type: string;
  readonly value: string;
}

/** A distinguished name whose every part is one attribute, in the order in which it is encoded. */
export interface DistinguishedName {
  readonly attributes: readonly NameAttribute[];
  readonly raw: Uint8Array;
}

const shortNames: readonly (readonly [string, string])[] = [
  ['CN', oids.commonName],
  ['C', oids.countryName],
  ['L', oids.localityName],
  ['ST', oids.stateOrProvinceName],
  ['O', oids.organizationName],
  ['OU', oids.organizationalUnitName],
];
const typeOfOid = new Map(shortNames.map(([type, oid]) => [oid, type]));
const oidOfType = new Map(shortNames);
const maximumAttributes = 16;

/** Reads a Name (RFC 5280 section 4.1.2.4) whose relative names have one attribute each. */
export function readName(reader: DerReader, field: string): DistinguishedName {
  return reader.sequence(field, (rdns, { raw }) => ({
    attributes: rdns.each('rdn', maximumAttributes, (each, rdn) =>
      each.nested(rdn, tags.set, (set) => set.sequence('attribute', readAttribute)),
    ),
    raw,
  }));
}

function readAttribute(reader: DerReader): NameAttribute {
  const oid = reader.oid('type');
  const element = reader.element('value', [tags.utf8String, tags.printableString, tags.ia5String]);
  const value = derTextOf(element);
  if (value === undefined) throw reader.refuse('value', element, 'text of its alphabet', 'other bytes');
  return { type: typeOfOid.get(oid) ?? oid, value };
}

/** A Name as AMD encodes it: the country as PrintableString, everything else as UTF8String. @throws InvalidArgumentError */
export function encodeName(attributes: readonly NameAttribute[]): Uint8Array {
  const encoded = attributes.map(({ type, value }) => {
    const tag = type === 'C' ? tags.printableString : tags.utf8String;
    const attribute = derSequence(derOid(oidOfType.get(type) ?? type), derText(tag, value));
    return derElement(tags.set, attribute);
  });
  return derSequence(...encoded);
}

/** Whether two names have the same attributes in the same order; how their text is encoded does not matter. */
export function sameName(a: readonly NameAttribute[], b: readonly NameAttribute[]): boolean {
  return (
    a.length === b.length && a.every(({ type, value }, i) => type === b[i]!.type && value === b[i]!.value)
  );
}

/** For people: `OU=Engineering, C=US, CN=ARK-Milan`. */
export function nameText(attributes: readonly NameAttribute[]): string {
  return attributes.map(({ type, value }) => `${type}=${value.replaceAll(/[,\\]/g, '\\$&')}`).join(', ');
}

/** The only common name; undefined when there is none or more than one. */
export function commonName(attributes: readonly NameAttribute[]): string | undefined {
  const found = attributes.filter(({ type }) => type === 'CN');
  return found.length === 1 ? found[0]!.value : undefined;
}
