import * as protocol from '@vouchsafe/protocol';
import { toBase64 } from '@vouchsafe/sev';
import type { Parser } from '../run.js';

const utf8 = (text: string) => new TextEncoder().encode(text);
const base64 = (text: string) => toBase64(utf8(text));

const packet = {
  kid: 'kbs:///default/key/1',
  wrapped_data: base64('sixteen bytes and more'),
  iv: base64('twelve bytes'),
  wrap_type: 'A256GCM',
};
const packetVersion2 = {
  version: '0.1.0',
  ...packet,
  provider: 'kbs',
  provider_settings: {},
  annotations: {},
};
const parameters = { Parameters: { 'attestation-agent': [base64('keyid=kbs:///default/key/1')] } };
const wrapRequest = { op: 'keywrap', keywrapparams: { ec: parameters, optsdata: base64('{"symkey":""}') } };
const unwrapRequest = {
  op: 'keyunwrap',
  keywrapparams: { ec: null, optsdata: null },
  keyunwrapparams: { dc: parameters, annotation: [123, 125] },
};

/** Valid messages between container tools and key providers, by exported name. */
export const keyProviderExamples: Record<string, object[]> = {
  annotationPacket: [packet, packetVersion2],
  keyProviderInput: [wrapRequest, unwrapRequest],
  keyProviderOutput: [
    { keywrapresults: { annotation: [123, 125] } },
    { keyunwrapresults: { optsdata: [123, 125] } },
  ],
};

const jsonBytes = (value: unknown) => utf8(JSON.stringify(value));
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** What reads container tools' requests and the packets of their images. */
export function keyProviderReaders(): Parser[] {
  return [
    {
      name: 'parseAnnotationPacket',
      seeds: [packet, packetVersion2].map(jsonBytes),
      parse: (bytes) => protocol.annotationPacketBytes(protocol.parseAnnotationPacket(bytes)),
    },
    {
      name: 'parseKeyProviderRequest',
      seeds: [wrapRequest, unwrapRequest].map(jsonBytes),
      parse: (bytes) => protocol.parseKeyProviderRequest(bytes),
    },
    {
      name: 'parseKeyProviderParameters',
      seeds: [utf8('keyid=kbs:///default/key/1::keypath=/tmp/key::algorithm=A256GCM')],
      parse: (bytes) => protocol.parseKeyProviderParameters([textOf(bytes)]),
    },
    {
      name: 'parseKeyId',
      seeds: [utf8('kbs:///default/key/1'), utf8('/default/image-kek/1')],
      parse: (bytes) => protocol.parseKeyId(textOf(bytes)),
    },
  ];
}
