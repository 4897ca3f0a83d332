import * as protocol from '@vouchsafe/protocol';
import type { Parser } from '../run.js';

const utf8 = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const base64Url = (value: unknown) => protocol.toBase64Url(utf8(JSON.stringify(value)));

const header = { alg: 'ES256', kid: 'kbs:///default/sealed/key' };
const vault = {
  version: '0.1.0',
  type: 'vault',
  name: 'kbs:///default/secret/1',
  provider: 'kbs',
  provider_settings: {},
  annotations: {},
};
const envelope = {
  version: '0.1.0',
  type: 'envelope',
  key_id: 'kbs:///default/key/1',
  encrypted_key: 'AAAA',
  encrypted_data: 'AAAA',
  wrap_type: 'A256GCM',
  iv: 'AAAAAAAAAAAAAAAA',
  provider: 'kbs',
  provider_settings: {},
  annotations: { iv: 'AAAAAAAAAAAAAAAA' },
};
const signature = protocol.toBase64Url(new Uint8Array(64).fill(1));
const coordinate = protocol.toBase64Url(new Uint8Array(32).fill(7));

/** Valid messages of the agent's sealed secrets, by exported name. */
export const agentExamples: Record<string, object[]> = {
  sealedSecretHeader: [header],
  sealedSecretContent: [vault, envelope],
  sealedSecretKey: [
    { kty: 'EC', crv: 'P-256', x: coordinate, y: coordinate, alg: 'ES256', use: 'sig', kid: 'one' },
  ],
};

/** ttrpc.Request with a service, a method and two bytes of payload, as protobuf. */
const ttrpcRequest = Uint8Array.of(0x0a, 1, 0x61, 0x12, 1, 0x62, 0x1a, 2, 0, 0);

/** What reads the requests of a guest's agent. */
export function agentReaders(): Parser[] {
  return [
    {
      name: 'parseSealedSecret',
      seeds: [vault, envelope].map((content) =>
        utf8(`sealed.${base64Url(header)}.${base64Url(content)}.${signature}`),
      ),
      parse: (bytes) => protocol.parseSealedSecret(textOf(bytes)),
    },
    {
      name: 'parseSealedSecretContent',
      seeds: [vault, envelope].map((content) => utf8(JSON.stringify(content))),
      parse: (bytes) => protocol.parseSealedSecretContent(bytes),
    },
    {
      name: 'parseTtrpcRequest',
      seeds: [ttrpcRequest],
      parse: (bytes) => protocol.parseTtrpcRequest(bytes),
    },
  ];
}
