import { generateKeyPairSync } from 'node:crypto';
import { parseSnpEvidence, parseStrictJson } from '@vouchsafe/protocol';
import { parseSnpReport } from '@vouchsafe/sev';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  base64,
  envelopeOf,
  hostData,
  imageKey,
  packetOf,
  sealContent,
  serveAgent,
  unwrapRequest,
  utf8,
} from '../testing/agent-fixture.js';
import { type AgentPeer, makeAgentPeer, type PeerCall, peerPackages } from '../testing/agent-peer/peer.js';

let peer: AgentPeer | undefined;
beforeAll(async () => {
  peer = await makeAgentPeer();
});
afterAll(() => peer?.remove());

const ofBase64 = (value: unknown) => Buffer.from(value as string, 'base64');
const textIn = (value: unknown) => ofBase64(value).toString();
const missing = `Debian’s packages ${peerPackages} are not installed`;

const attestationAgent = 'attestation_agent.AttestationAgentService';
const keyProvider = 'keyprovider.KeyProviderService';

/** Every method of the sheet’s services, in order. */
async function everyCall(sealed: string, packet: Uint8Array): Promise<[string, string, object][]> {
  const wrap = JSON.stringify({
    op: 'keywrap',
    keywrapparams: {
      ec: { Parameters: { anyone: [base64('keyid=kbs:///image/key/1')] }, DecryptConfig: { Parameters: {} } },
      optsdata: base64('a layer’s options'),
    },
    keyunwrapparams: { dc: null, annotation: null },
  });
  return [
    [attestationAgent, 'GetEvidence', { RuntimeData: base64('a nonce') }],
    [attestationAgent, 'GetAdditionalEvidence', { RuntimeData: base64('a nonce') }],
    [attestationAgent, 'GetToken', { TokenType: 'kbs' }],
    [attestationAgent, 'GetToken', { TokenType: 'coco_as' }],
    [
      attestationAgent,
      'ExtendRuntimeMeasurement',
      { Domain: 'a', Operation: 'b', Content: 'c', RegisterIndex: '8' },
    ],
    [attestationAgent, 'BindInitData', { Digest: base64(hostData) }],
    [attestationAgent, 'GetTeeType', {}],
    [attestationAgent, 'GetAdditionalTees', {}],
    [keyProvider, 'WrapKey', { KeyProviderKeyWrapProtocolInput: base64(wrap) }],
    [keyProvider, 'UnWrapKey', { KeyProviderKeyWrapProtocolInput: base64(unwrapRequest(packet)) }],
    ['api.SealedSecretService', 'UnsealSecret', { secret: base64(sealed) }],
    ['api.GetResourceService', 'GetResource', { ResourcePath: 'kbs:///default/key/1' }],
    [
      'api.SecureMountService',
      'SecureMount',
      {
        volume_type: 'block-device',
        options: { devicePath: '/dev/vdb', sourceType: 'encrypted', key: 'kbs:///default/key/1' },
        flags: ['ro'],
        mount_point: '/mnt',
      },
    ],
    ['api.ImagePullService', 'PullImage', { image_url: 'busybox', bundle_path: '/run/bundle' }],
  ];
}

describe.each(['grpc', 'ttrpc'] as const)('a client that protoc made, over %s', (transport) => {
  it('calls every method', async ({ skip }) => {
    if (peer === undefined) return skip(missing);
    const mounted: unknown[] = [];
    const pulled: unknown[] = [];
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const jwk = privateKey.export({ format: 'jwk' });
    const { d: _private, ...publicKey } = jwk;
    const keyName = 'kbs:///owner/sealing/key';
    const envelope = await envelopeOf('from an envelope', 'kbs:///image/key/1', imageKey);
    const { places, broker } = await serveAgent({
      secrets: { 'image/key/1': imageKey, 'owner/sealing/key': JSON.stringify(publicKey) },
      mountCommands: {
        unlock: async (volume, key, name) => void mounted.push([volume, key.length, name]),
        mount: async (...words) => void mounted.push(words),
      },
      puller: {
        async pull({ image, bundlePath }) {
          pulled.push([image, bundlePath]);
          return `sha256:${'0'.repeat(64)}`;
        },
      },
    });
    const targets = {
      grpc: [places.attestationGrpc, places.dataHubGrpc],
      ttrpc: [places.attestationSocket, places.dataHubSocket],
    }[transport];
    const calls = await everyCall(sealContent(envelope, jwk, keyName), await packetOf('kbs:///image/key/1'));
    const results = await peer.call(
      calls.map(([service, method, request]): PeerCall => {
        const target = targets[service === attestationAgent ? 0 : 1]!;
        return { transport, target, service, method, request };
      }),
    );
    expect(results.map(({ code, message }) => message ?? code)).toEqual(calls.map(() => 0));
    const answers = results.map(({ answer = {} }) => answer);

    const evidence = parseSnpEvidence(parseStrictJson('evidence', textIn(answers[0]!['Evidence'])));
    const { reportData, vmpl } = parseSnpReport(evidence.report);
    expect([new TextDecoder().decode(reportData).replaceAll('\0', ''), vmpl]).toEqual(['a nonce', 0]);
    expect(answers[1]).toEqual({ Evidence: '' });
    const passport = JSON.parse(textIn(answers[2]!['Token'])) as { token: string; tee_keypair: string };
    expect(passport.tee_keypair).toMatch(/^-----BEGIN PRIVATE KEY-----/);
    expect(textIn(answers[3]!['Token'])).toBe(passport.token);
    expect(answers.slice(4, 8)).toEqual([
      { Result: 'NOT_ENABLED' },
      {},
      { tee: 'snp' },
      { additionalTees: [] },
    ]);
    const wrapped = JSON.parse(textIn(answers[8]!['KeyProviderKeyWrapProtocolOutput'])) as {
      keywrapresults: { annotation: number[] };
    };
    expect(JSON.parse(Buffer.from(wrapped.keywrapresults.annotation).toString())).toMatchObject({
      kid: 'kbs:///image/key/1',
    });
    const unwrapped = JSON.parse(textIn(answers[9]!['KeyProviderKeyWrapProtocolOutput'])) as {
      keyunwrapresults: { optsdata: number[] };
    };
    expect(Buffer.from(unwrapped.keyunwrapresults.optsdata).toString()).toBe('the layer’s options');
    expect(textIn(answers[10]!['plaintext'])).toBe('from an envelope');
    expect(textIn(answers[11]!['Resource'])).toBe('the first secret');
    expect(mounted).toEqual([
      ['/dev/vdb', 16, 'vouchsafe--dev-vdb'],
      ['/dev/mapper/vouchsafe--dev-vdb', '/mnt', 'ext4', ['ro']],
    ]);
    expect(answers[13]).toEqual({ manifestDigest: `sha256:${'0'.repeat(64)}` });
    expect(pulled).toEqual([['busybox', '/run/bundle']]);
    expect(
      broker.requests.filter((each) => each.endsWith('/attest')),
      'one session for all',
    ).toHaveLength(1);
  });

  it('is told why, with a code, where a call fails', async ({ skip }) => {
    if (peer === undefined) return skip(missing);
    const { places } = await serveAgent({ secrets: { 'image/key/1': imageKey } });
    const [attestation, dataHub] =
      transport === 'grpc'
        ? [places.attestationGrpc, places.dataHubGrpc]
        : [places.attestationSocket, places.dataHubSocket];
    const ask = (target: string, service: string, method: string, request: object): PeerCall => ({
      transport,
      target,
      service,
      method,
      request,
    });
    const altered = await packetOf('kbs:///image/key/1');
    const packet = JSON.parse(new TextDecoder().decode(altered)) as { iv: string };
    const swapped = utf8(JSON.stringify({ ...packet, iv: base64('twelve bytes') }));
    const unwrap = (annotation: Uint8Array) =>
      ask(dataHub, keyProvider, 'UnWrapKey', {
        KeyProviderKeyWrapProtocolInput: base64(unwrapRequest(annotation)),
      });
    const results = await peer.call([
      unwrap(swapped),
      unwrap(await packetOf('kbs:///other/key/1')),
      unwrap(await packetOf('kbs:///default/key/none')),
      unwrap(utf8('{}')),
      ask(dataHub, 'api.GetResourceService', 'GetResource', { ResourcePath: 'kbs:///default/../1' }),
      ask(dataHub, 'api.ImagePullService', 'PullImage', { image_url: 'busybox' }),
      ask(attestation, attestationAgent, 'GetEvidence', { RuntimeData: base64(new Uint8Array(65)) }),
      ask(attestation, attestationAgent, 'BindInitData', { Digest: base64(new Uint8Array(32)) }),
      ask(attestation, attestationAgent, 'GetToken', { TokenType: 'other' }),
      // A service that the other socket has.
      ask(attestation, 'api.GetResourceService', 'GetResource', { ResourcePath: 'kbs:///default/key/1' }),
    ]);
    expect(results.map(({ code, message }) => [code, message])).toEqual([
      [7, expect.stringContaining('does not open under "kbs:///image/key/1"')],
      [7, expect.stringContaining('does not release other/key/1: another owner’s, number 17')],
      [5, expect.stringContaining('has no default/key/none')],
      [3, expect.stringContaining('annotation packet: /kid')],
      [3, expect.stringContaining('resource path')],
      [12, expect.stringContaining('pulls no images')],
      [3, expect.stringContaining('at most 64 bytes')],
      [7, expect.stringContaining('init-data.host-data')],
      [3, expect.stringContaining('kbs or coco_as')],
      [12, expect.any(String)],
    ]);
  });
});

describe('a process without privileges', () => {
  it('is refused: by the kernel at the sockets, by the agent on loopback', async ({ skip }) => {
    if (peer === undefined) return skip(missing);
    if (process.getuid?.() !== 0) return skip('needs root, to start a process as nobody');
    const { places } = await serveAgent();
    const service = 'api.GetResourceService';
    const request = { ResourcePath: 'kbs:///default/key/1' };
    const call = (transport: 'grpc' | 'ttrpc', target: string): PeerCall => {
      return { transport, target, service, method: 'GetResource', request };
    };
    const calls = [call('ttrpc', places.dataHubSocket), call('grpc', places.dataHubGrpc)];
    expect(await peer.call(calls, 65534)).toEqual([
      { code: -1, message: 'PermissionError' },
      { code: 7, message: expect.stringContaining('user 65534 may not call') },
    ]);
    expect((await peer.call(calls)).map(({ code }) => code)).toEqual([0, 0]);
  });
});
