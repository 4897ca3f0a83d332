import { generateKeyPairSync, sign } from 'node:crypto';
import { type ImageSignature, imagePolicy, imagePolicyGate } from '@vouchsafe/guest';
import { digest, toBase64, toHex } from '@vouchsafe/sev';
import type { SnpAttack } from '../attack.js';
import { appraisedByGuest } from '../outcome.js';

/** Which images a guest runs: by a policy that reached it as a secret, over what the host hands to it. */

const modes = ['snp'] as const;
const name = 'registry.example/team/web:1';
const bytesOf = (text: string) => new TextEncoder().encode(text);
const manifest = bytesOf('{"schemaVersion":2}');
const newKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
type Key = ReturnType<typeof newKey>;

interface Offer {
  readonly image?: string;
  /** What the host brings as the image's signature. */
  readonly signature?: (owner: Key) => Promise<ImageSignature>;
}

/** As cosign signs an image under a name. */
async function signedBy({ privateKey }: Key, image: Uint8Array = manifest): Promise<ImageSignature> {
  const payload = bytesOf(
    JSON.stringify({
      critical: {
        type: 'cosign container image signature',
        image: { 'docker-manifest-digest': `sha256:${toHex(await digest('sha256', image))}` },
        identity: { 'docker-reference': name },
      },
      optional: null,
    }),
  );
  return { kind: 'sigstore', payload, signature: sign('sha256', payload, privateKey) };
}

/** Offered to a guest whose policy takes the owner's signed images of one repository, and nothing else. */
function offering(id: string, title: string, at: string, { image = name, signature }: Offer): SnpAttack {
  return {
    id,
    flow: 'images',
    modes,
    title,
    refusedBy: 'guest',
    at,
    async run() {
      const owner = newKey();
      const pem = owner.publicKey.export({ type: 'spki', format: 'pem' }).toString();
      const rule = { type: 'sigstoreSigned', keyData: toBase64(bytesOf(pem)) };
      const policy = imagePolicy.parse({
        default: [{ type: 'reject' }],
        transports: { docker: { 'registry.example/team': [rule] } },
      });
      const readKey = async () => new Uint8Array();
      const gate = imagePolicyGate({ policy: async () => policy, readKey });
      const signed = { image: name, manifest, signatures: [await signedBy(owner)] };
      if ((await gate.requireAllowed(signed)) === undefined) throw new TypeError('there is no policy');
      const signatures = signature === undefined ? [] : [await signature(owner)];
      return appraisedByGuest('an image that the owner never meant to be run', async () => {
        const appraisal = await gate.requireAllowed({ image, manifest, signatures });
        if (appraisal === undefined) throw new TypeError('there is no policy');
        return appraisal;
      });
    },
  };
}

export const imagePolicyAttacks: readonly SnpAttack[] = [
  offering(
    'image-not-on-the-list',
    'The host has the guest run an image of a repository that its policy does not name',
    'image.allowed',
    { image: 'registry.example/other/web:1' },
  ),
  offering(
    'image-unsigned',
    'The host hands over an image without a signature, where the policy demands the owner’s',
    'image.signed',
    {},
  ),
  offering(
    'image-signed-by-a-stranger',
    'The host signs the image that it hands over with a key of its own',
    'image.signed',
    { signature: () => signedBy(newKey()) },
  ),
  offering(
    'signature-of-another-image',
    'The host hands over an image of its own with the signature of the owner’s',
    'image.signed',
    { signature: (owner) => signedBy(owner, bytesOf('{"schemaVersion":2,"layers":[]}')) },
  ),
];
