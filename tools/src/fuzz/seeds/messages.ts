import * as protocol from '@vouchsafe/protocol';
import { toBase64 } from '@vouchsafe/sev';
import { SeededRandom } from '../mutate.js';
import { agentExamples } from '../readers/agent.js';
import { imageExamples } from '../readers/images.js';
import { keyProviderExamples } from '../readers/key-provider.js';

const random = new SeededRandom(3);
const base64 = (length: number) => toBase64(random.bytes(length));
const launchId = '00112233445566778899aabbccddeeff';
const version = { apiMajor: 0, apiMinor: 24, buildId: 13 };
const base64Url = (length: number) => protocol.toBase64Url(random.bytes(length));
const platform = { pdh: base64(0x824), certificateChain: base64(3 * 0x824) };

const modulus = random.bytes(256).fill(0xc1, 0, 1).fill(0xc1, 255);
const teeKeys: object[] = [
  { kty: 'EC', crv: 'P-256', alg: 'ECDH-ES+A256KW', x: base64Url(32), y: base64Url(32) },
  { kty: 'EC', crv: 'P-521', alg: 'ECDH-ES+A256KW', x: base64Url(66), y: base64Url(66) },
  { kty: 'RSA', alg: 'RSA-OAEP-256', n: protocol.toBase64Url(modulus), e: 'AQAB' },
];

const examples: Record<string, object[]> = {
  ...agentExamples,
  ...imageExamples,
  ...keyProviderExamples,
  launchRequest: [
    { case: 'A', ...version, ...platform, chipId: base64(64) },
    { case: 'B', ...version, ...platform, certificateAuthority: base64(2 * 1600) },
  ],
  launchBundle: [
    {
      launchId,
      policy: 5,
      mode: 'sev-es',
      godhCertificate: base64(0x824),
      session: base64(0x80),
      vcpus: [1, 2],
      vcpuSignatures: [0x00a00f11],
      expires: '2026-11-22T01:00:00.000Z',
    },
  ],
  attestationRequest: [
    { type: 'report', id: 1, reportData: base64(64), vmpl: 0 },
    {
      type: 'key',
      id: 2,
      root: 'VEK',
      keySelection: 'VCEK',
      fields: {
        policy: true,
        imageId: false,
        familyId: false,
        measurement: true,
        guestSvn: true,
        tcbVersion: true,
        launchMitigationVector: false,
      },
      vmpl: 3,
      guestSvn: 7,
      tcbVersion: '0xd918000000000004',
    },
  ],
  attestationAnswer: [
    { type: 'report', id: 1, report: base64(1184), certificateTable: base64(120) },
    { type: 'key', id: 2, key: base64(32) },
    { type: 'failure', id: 3, code: 'unavailable', message: 'the host is busy', hint: 'try again' },
  ],
  measurementEvidence: [{ launchId, measurement: base64(48), ...version, policy: 5 }],
  secretDelivery: [{ launchId, header: base64(0x34), payload: base64(64) }],
  refusal: [
    {
      reason: 'it differs',
      subject: 'launch measurement',
      root: { name: 'AMD, Milan', kind: 'amd', fingerprint: '569d' },
      checks: [
        {
          id: 'measurement.hmac',
          title: 'measurement',
          status: 'fail',
          kind: 'expectation',
          found: 'another',
        },
      ],
    },
  ],
  rcarRequest: [
    { version: '0.4.0', tee: 'snp', 'extra-params': { 'supported-hash-algorithms': ['sha384'] } },
    { version: '0.4.0', tee: 'snp', 'extra-params': '' },
  ],
  rcarChallenge: [{ nonce: base64(32), 'extra-params': '' }],
  rcarAttestation: teeKeys.map((key) => ({
    'init-data': { format: 'toml', body: 'version = "0.1.0"' },
    'runtime-data': { nonce: base64(32), 'tee-pubkey': key },
    'tee-evidence': { primary_evidence: { svn: '1' }, additional_evidence: '' },
  })),
  rcarToken: [{ token: 'eyJhbGciOiJFUzI1NiJ9.e30.AAAA' }],
  rcarError: [protocol.rcarErrorOf('PolicyDeny', 'Access denied by policy')],
  teeKey: teeKeys,
  flattenedJwe: [
    {
      protected: 'e30',
      encrypted_key: 'AAAA',
      iv: base64Url(12),
      ciphertext: base64Url(40),
      tag: base64Url(16),
    },
  ],
};

/** Valid JSON texts of each message of the protocol, by the message's exported name. */
export const messageSeeds: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  Object.entries(examples).map(([name, values]) => [name, values.map((value) => JSON.stringify(value))]),
);
