import type { DerReader } from './der.js';
import { tags } from './der-tags.js';
import { derBoolean, derOctetString, derOid, derSequence } from './der-writer.js';

/** An extension as it stands: what it means is its reader's business. */
export interface X509Extension {
  /** Dotted form. */
  readonly oid: string;
  readonly critical: boolean;
  /** Content of the extension's OCTET STRING. */
  readonly value: Uint8Array;
  /** Of the value, from the first byte of the outermost input. */
  readonly offset: number;
}

/** More than twice what AMD's have. */
const maximumExtensions = 32;

/** Reads Extensions (RFC 5280 section 4.1): one at least. */
export function readExtensions(reader: DerReader, field: string): X509Extension[] {
  return reader.sequence(field, (list, whole) => {
    if (!list.follows()) throw reader.refuse(field, whole, 'one extension at least', 'none');
    return list.each('extension', maximumExtensions, (each, name) => each.sequence(name, readExtension));
  });
}

function readExtension(reader: DerReader): X509Extension {
  const oid = reader.oid('extnID');
  const critical = reader.follows(tags.boolean) && readCritical(reader);
  const { content, raw, offset } = reader.element('extnValue', tags.octetString);
  return { oid, critical, value: content, offset: offset + raw.length - content.length };
}

/** DER leaves out a default, and `critical` is FALSE by default. */
function readCritical(reader: DerReader): true {
  if (!reader.boolean('critical'))
    throw reader.malformed('critical', 'no FALSE, which is the default', 'it spelled out', 0);
  return true;
}

export interface NewExtension {
  readonly oid: string;
  readonly critical?: boolean;
  /** Content of the extension's OCTET STRING. */
  readonly value: Uint8Array;
}

/** @throws InvalidArgumentError for what is no object identifier */
export function encodeExtensions(extensions: readonly NewExtension[]): Uint8Array {
  const encoded = extensions.map(({ oid, critical = false, value }) =>
    derSequence(derOid(oid), ...(critical ? [derBoolean(true)] : []), derOctetString(value)),
  );
  return derSequence(...encoded);
}
