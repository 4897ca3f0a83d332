import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RefusedError } from '@vouchsafe/sev';
import { expect, it } from 'vitest';
import { describeWithVectors, vectorPath } from '../../../../sev/src/testing/vectors.js';
import { base64, imageKey, resourcesOf } from '../../testing/agent-fixture.js';
import { temporaryFolder } from '../../testing/temporary.js';
import { imagePolicyGate } from '../image-policy/gate.js';
import { imagePolicySource } from '../image-policy/source.js';
import { UnimplementedError } from '../unimplemented.js';
import { layoutPuller } from './layout-puller.js';

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');
interface Index {
  manifests: { digest: string; mediaType: string; size: number; annotations?: Record<string, string> }[];
}

/** The encrypted image of the vectors in a folder that its host writes. */
function sharedImage(kind: 'encrypted' | 'plain' = 'encrypted') {
  const folder = temporaryFolder();
  cpSync(vectorPath(`kbs/image/oci-encrypted/${kind}`), join(folder, 'image'), { recursive: true });
  const layout = join(folder, 'image');
  const readIndex = () => JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as Index;
  const put = (content: string) => {
    writeFileSync(join(layout, 'blobs/sha256', sha256(content)), content);
    return { digest: `sha256:${sha256(content)}`, size: content.length };
  };
  const [{ digest, annotations } = { digest: '' }] = readIndex().manifests;
  const name = annotations?.['org.opencontainers.image.ref.name'];
  const image = `oci:${layout}${name === undefined ? '' : `:${name}`}`;

  /** As cosign keeps a signature beside an image. */
  function addSignature(key = privateKey, signed = digest) {
    const identity = { 'docker-reference': 'registry.example/app' };
    const claim = {
      identity,
      image: { 'docker-manifest-digest': signed },
      type: 'cosign container image signature',
    };
    const payload = JSON.stringify({ critical: claim, optional: null });
    const signature = base64(new Uint8Array(sign('sha256', Buffer.from(payload), key)));
    const mediaType = 'application/vnd.dev.cosign.simplesigning.v1+json';
    const layer = {
      mediaType,
      ...put(payload),
      annotations: { 'dev.cosignproject.cosign/signature': signature },
    };
    const type = 'application/vnd.oci.image.manifest.v1+json';
    const config = { mediaType: 'application/vnd.oci.image.config.v1+json', ...put('{}') };
    const blob = put(JSON.stringify({ schemaVersion: 2, mediaType: type, config, layers: [layer] }));
    const index = readIndex();
    const named = { 'org.opencontainers.image.ref.name': `${digest.replace(':', '-')}.sig` };
    index.manifests.push({ mediaType: type, ...blob, annotations: named });
    writeFileSync(join(layout, 'index.json'), JSON.stringify(index));
  }
  return { folder, layout, image, digest, addSignature, bundlePath: join(folder, 'bundle') };
}

const key = { 'default/key/1': imageKey };
const gateOf = (policy?: object) => {
  const source = policy === undefined ? undefined : { text: JSON.stringify(policy) };
  return imagePolicyGate(imagePolicySource(source, resourcesOf({})));
};
const signed = {
  default: [
    {
      type: 'sigstoreSigned',
      keyData: base64(pem),
      signedIdentity: { type: 'exactRepository', dockerRepository: 'registry.example/app' },
    },
  ],
};
const failed = async (work: Promise<unknown>) => {
  const error: unknown = await work.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(RefusedError);
  return (error as RefusedError).appraisal.checks
    .filter(({ status }) => status === 'fail')
    .map(({ id }) => id);
};

describeWithVectors('an agent that pulls from a folder of its host', () => {
  it('decrypts the image that the policy’s key signed', async () => {
    const { image, digest, bundlePath, addSignature } = sharedImage();
    addSignature();
    const request = { image, bundlePath, gate: gateOf(signed), resources: resourcesOf(key) };
    expect(await layoutPuller.pull(request)).toBe(digest);
    const plain = '19f80f022a189a45db49d9c57c43e88a4ac04d49a5fa40010ad14ff85565fcd3';
    expect(sha256(readFileSync(join(bundlePath, 'blobs/sha256', plain)))).toBe(plain);
  });

  it.each<[string, (shared: ReturnType<typeof sharedImage>) => void]>([
    ['unsigned', () => undefined],
    ['signed with another key', ({ addSignature }) => addSignature(other)],
    [
      'with the signature of another image',
      ({ addSignature }) => addSignature(privateKey, `sha256:${'0'.repeat(64)}`),
    ],
  ])('refuses an image %s, and unpacks nothing of it', async (_what, prepare) => {
    const shared = sharedImage();
    prepare(shared);
    const { image, bundlePath } = shared;
    const request = { image, bundlePath, gate: gateOf(signed), resources: resourcesOf(key) };
    expect(await failed(layoutPuller.pull(request))).toEqual(['image.signed']);
    expect(existsSync(bundlePath)).toBe(false);
  });

  it('refuses what the policy rejects, and plain layers that no policy allowed', async () => {
    const { image, bundlePath } = sharedImage();
    const rejecting = {
      image,
      bundlePath,
      gate: gateOf({ default: [{ type: 'reject' }] }),
      resources: resourcesOf(key),
    };
    expect(await failed(layoutPuller.pull(rejecting))).toEqual(['image.allowed']);
    expect(existsSync(bundlePath)).toBe(false);
    const plain = sharedImage('plain');
    const open = { image: plain.image, bundlePath: plain.bundlePath, resources: resourcesOf({}) };
    expect(await failed(layoutPuller.pull({ ...open, gate: gateOf() }))).toContain('image.encrypted');
    const accepting = gateOf({ default: [{ type: 'insecureAcceptAnything' }] });
    expect(await layoutPuller.pull({ ...open, gate: accepting })).toBe(plain.digest);
  });

  it('refuses a layer key of another machine, and an image of a registry', async () => {
    const { image, bundlePath } = sharedImage();
    const resources = resourcesOf({ 'default/key/1': new Uint8Array(32) });
    expect(await failed(layoutPuller.pull({ image, bundlePath, gate: gateOf(), resources }))).toContain(
      'layer.key',
    );
    const registry = { image: 'busybox', bundlePath, gate: gateOf(), resources };
    await expect(layoutPuller.pull(registry)).rejects.toThrow(UnimplementedError);
  });
});
