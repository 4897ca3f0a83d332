/** Identifier octets (X.690 section 8.1.2) of what X.509 uses. */
export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Identifier octet of a context-specific tag, `[number]`. */
export function contextTag(number: number, form: 'primitive' | 'constructed'): number {
  return (form === 'constructed' ? 0xa0 : 0x80) | number;
}

export const hexOctet = (octet: number): string => `0x${octet.toString(16).padStart(2, '0')}`;

const namesOfTags = new Map<number, string>([
  [tags.boolean, 'a BOOLEAN'],
  [tags.integer, 'an INTEGER'],
  [tags.bitString, 'a BIT STRING'],
  [tags.octetString, 'an OCTET STRING'],
  [tags.null, 'NULL'],
  [tags.oid, 'an OBJECT IDENTIFIER'],
  [tags.enumerated, 'an ENUMERATED'],
  [tags.utf8String, 'a UTF8String'],
  [tags.printableString, 'a PrintableString'],
  [tags.ia5String, 'an IA5String'],
  [tags.utcTime, 'a UTCTime'],
  [tags.generalizedTime, 'a GeneralizedTime'],
  [tags.sequence, 'a SEQUENCE'],
  [tags.set, 'a SET'],
]);

/** For people: `a SEQUENCE`, `[0]`. */
export function tagName(identifier: number): string {
  const context = (identifier & 0xc0) === 0x80 ? `[${identifier & 0x1f}]` : undefined;
  return namesOfTags.get(identifier) ?? context ?? `the identifier octet ${hexOctet(identifier)}`;
}
