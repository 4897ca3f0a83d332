import { createHash, createPrivateKey, type JsonWebKey, sign } from 'node:crypto';
import { join } from 'node:path';
import {
  annotationPacketBytes,
  parseKeyId,
  rcarErrorOf,
  toBase64Url,
  wrapLayerOptions,
} from '@vouchsafe/protocol';
import { aes256GcmSeal, concat, generateP384, openSecret, Secret, toBase64 } from '@vouchsafe/sev';
import { onTestFinished } from 'vitest';
import { makeReport } from '../../../sev/src/testing/reports.js';
import { type AgentOptions, type AgentPlaces, createAgent } from '../agent/agent.js';
import { imagePolicyGate } from '../agent/image-policy/gate.js';
import { type ImagePolicyPlace, imagePolicySource } from '../agent/image-policy/source.js';
import { offlineTable } from '../agent/resources/offline-table.js';
import { type AgentResources, brokerResources, resourcesFrom } from '../agent/resources/resources.js';
import { connectKeyBroker } from '../broker/broker-client.js';
import type { ReportSource } from '../broker/evidence.js';
import { startFakeBroker } from './fake-key-broker.js';
import { temporaryFolder } from './temporary.js';

export const utf8 = (text: string) => new TextEncoder().encode(text);
export const base64 = (given: string | Uint8Array) =>
  toBase64(typeof given === 'string' ? utf8(given) : given);
export const hostData = new Uint8Array(32).fill(0x05);
/** The key that the image vectors were encrypted with. */
export const imageKey = new Uint8Array(createHash('sha256').update('kek').digest());

/** Resources by name, as a table that was injected has them. */
export function resourcesOf(entries: Readonly<Record<string, string | Uint8Array>>): AgentResources {
  const json = Object.fromEntries(Object.entries(entries).map(([name, value]) => [name, base64(value)]));
  return offlineTable(Secret.take(utf8(JSON.stringify(json))), { name: 'test', keysOnly: false });
}

/** A device whose reports nobody verifies; it keeps what it was asked. */
async function reportingDevice(): Promise<ReportSource & { readonly asked: (number | undefined)[] }> {
  const key = await generateP384();
  const asked: (number | undefined)[] = [];
  return {
    asked,
    async report({ reportData, vmpl }) {
      asked.push(vmpl);
      return { report: await makeReport(key, { fields: { reportData, hostData, vmpl: vmpl ?? 0 } }) };
    },
  };
}

export interface AgentWish extends Partial<AgentOptions> {
  readonly secrets?: Readonly<Record<string, string | Uint8Array>>;
  readonly policy?: ImagePolicyPlace;
}

/** An agent with some secrets of its own and a broker behind it, which has `default/key/1` and refuses `other/key/1`. */
export async function makeAgent({ secrets = {}, policy, ...wish }: AgentWish = {}) {
  const broker = await startFakeBroker({
    intercept: (route) =>
      route === 'GET /kbs/v0/resource/other/key/1'
        ? { status: 403, body: JSON.stringify(rcarErrorOf('PolicyDeny', 'another owner’s, number 17')) }
        : undefined,
  });
  const device = await reportingDevice();
  const client = connectKeyBroker({
    address: broker.address,
    device,
    now: () => 1000,
    pause: async () => undefined,
  });
  const resources = resourcesFrom([resourcesOf(secrets), brokerResources(client)]);
  const agent = createAgent({
    device,
    broker: client,
    eventLog: false,
    resources,
    imagePolicy: imagePolicyGate(imagePolicySource(policy, resources)),
    version: '1.2.3',
    rules: { users: [] },
    ...wish,
  });
  return { agent, broker, device };
}

/** Serves it in every way, in a folder and on ports of its own. */
export async function serveAgent(wish: AgentWish = {}, places: AgentPlaces = {}) {
  const made = await makeAgent(wish);
  const folder = temporaryFolder();
  const served = await made.agent.serve({
    attestationSocket: join(folder, 'run/aa/aa.sock'),
    dataHubSocket: join(folder, 'run/cdh.sock'),
    attestationGrpc: '127.0.0.1:0',
    dataHubGrpc: '127.0.0.1:0',
    rest: '127.0.0.1:0',
    restFeatures: 'all',
    ...places,
  });
  onTestFinished(() => served.close());
  const { places: reached } = served;
  const get = (path: string, init?: RequestInit) => fetch(`http://${reached.rest}${path}`, init);
  return { ...made, folder, served, places: reached as Required<AgentPlaces>, get };
}

/** A packet of an encrypted image, wrapped with a key. */
export async function packetOf(
  keyId: string,
  layerOptions = 'the layer’s options',
  key: Uint8Array = imageKey,
): Promise<Uint8Array> {
  return annotationPacketBytes(
    await wrapLayerOptions({
      key: Secret.copyOf(key),
      keyId: parseKeyId(keyId),
      layerOptions: Secret.take(utf8(layerOptions)),
    }),
  );
}

export const unwrapRequest = (annotation: Uint8Array) =>
  JSON.stringify({
    op: 'keyunwrap',
    keywrapparams: { ec: null, optsdata: null },
    keyunwrapparams: { dc: { Parameters: { anyone: [base64('any')] } }, annotation: base64(annotation) },
  });

/** Seals content as its owner does, with the private half of a JWK. */
export function sealContent(content: unknown, jwk: JsonWebKey, kid: string, header: object = {}): string {
  const part = (value: unknown) => toBase64Url(utf8(JSON.stringify(value)));
  const text = `${part({ alg: 'ES256', kid, ...header })}.${part(content)}`;
  const key = createPrivateKey({ key: jwk, format: 'jwk' });
  const signature = sign('sha256', utf8(text), { key, dsaEncoding: 'ieee-p1363' });
  return `sealed.${text}.${toBase64Url(signature)}`;
}

/** An envelope under a key of the broker. */
export async function envelopeOf(plain: string, keyId: string, key: Uint8Array) {
  const contentKey = new Uint8Array(32).fill(9);
  const [iv, keyIv] = [new Uint8Array(12).fill(1), new Uint8Array(12).fill(2)];
  const none = new Uint8Array();
  const sealed = async (sealing: Uint8Array, nonce: Uint8Array, data: Uint8Array) => {
    const { ciphertext, tag } = await aes256GcmSeal(Secret.copyOf(sealing), nonce, none, data);
    return base64(concat(ciphertext, tag));
  };
  return {
    version: '0.1.0',
    type: 'envelope',
    key_id: keyId,
    encrypted_key: await sealed(key, keyIv, contentKey),
    encrypted_data: await sealed(contentKey, iv, utf8(plain)),
    wrap_type: 'A256GCM',
    iv: base64(iv),
    provider: 'kbs',
    provider_settings: {},
    annotations: { iv: base64(keyIv) },
  };
}

export const textOf = (secret: Secret) => new TextDecoder().decode(openSecret(secret));
