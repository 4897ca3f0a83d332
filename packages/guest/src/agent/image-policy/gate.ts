import { createHash, createPublicKey, verify } from 'node:crypto';
import { type Appraisal, Appraiser, fromBase64, MalformedError, requireAccepted } from '@vouchsafe/sev';
import { imagePolicyChecks } from './checks.js';
import { type ImageReference, parseImageReference, referenceText } from './image-reference.js';
import { openSignedMessage } from './open-pgp.js';
import { type ImagePolicy, requirementsFor, type SignatureRequirement } from './policy.js';
import { isSignedFor, parseSignedClaim } from './signed-identity.js';

/** A signature that came with an image; nobody has verified it. */
export type ImageSignature =
  /** cosign’s: what was signed, and the signature, in DER where the key is of an elliptic curve. */
  | { readonly kind: 'sigstore'; readonly payload: Uint8Array; readonly signature: Uint8Array }
  /** Simple signing: an OpenPGP message. */
  | { readonly kind: 'simple'; readonly message: Uint8Array };

/** An image whose manifest is here, and nothing of it has been unpacked. */
export interface OfferedImage {
  /** As the pod names it. */
  readonly image: string;
  readonly manifest: Uint8Array;
  readonly signatures: readonly ImageSignature[];
}

/** Stands between what the host hands over and what the guest runs. */
export interface ImagePolicyGate {
  /**
   * Undefined when no policy was given to this guest.
   * @throws RefusedError with the checks, for an image that the policy does not allow
   * @throws MalformedError, UnavailableError when the policy or a key of it cannot be had: then nothing is allowed
   */
  requireAllowed(offered: OfferedImage): Promise<Appraisal | undefined>;
  /** For who has only a name: refuses what no signature could make good. @throws as `requireAllowed` */
  requireNotRejected(image: string): Promise<void>;
}

export interface ImagePolicySource {
  /** Fetched when first needed, and kept. Undefined: no policy. */
  policy(): Promise<ImagePolicy | undefined>;
  /** Bytes of a key: a file of the guest, or `kbs:///repository/type/tag`. */
  readKey(path: string): Promise<Uint8Array>;
}

export function imagePolicyGate({ policy: fetchPolicy, readKey }: ImagePolicySource): ImagePolicyGate {
  let fetched: Promise<ImagePolicy | undefined> | undefined;
  function currentPolicy(): Promise<ImagePolicy | undefined> {
    const started = fetched ?? fetchPolicy();
    fetched = started;
    started.catch(() => {
      if (fetched === started) fetched = undefined;
    });
    return started;
  }

  async function keysOf({ keyPath, keyPaths, keyData }: SignatureRequirement): Promise<Uint8Array[]> {
    if (keyData !== undefined) return [fromBase64(keyData)];
    return Promise.all((keyPaths ?? [keyPath!]).map((path) => readKey(path)));
  }

  /** What is wrong with every signature; undefined when one of them meets the requirement. */
  async function complaintOf(
    requirement: SignatureRequirement,
    reference: ImageReference,
    { manifest, signatures }: OfferedImage,
  ): Promise<string | undefined> {
    const wanted = requirement.type === 'signedBy' ? 'simple' : 'sigstore';
    const keys = await keysOf(requirement);
    const digest = `sha256:${createHash('sha256').update(manifest).digest('hex')}`;
    let complaint = 'no signature of this kind';
    for (const signature of signatures) {
      if (signature.kind !== wanted) continue;
      const payload =
        signature.kind === 'simple'
          ? await openSignedMessage(signature.message, keys)
          : keys.some((key) => isSigstoreSigned(signature, key))
            ? signature.payload
            : undefined;
      if (payload === undefined) {
        complaint = 'a signature of none of the keys';
        continue;
      }
      const claim = claimIn(payload, requirement.type);
      if (claim === undefined) complaint = 'a signature over something else than an image';
      else if (claim.digest !== digest) complaint = `a signature over ${claim.digest}`;
      else if (!isSignedFor(reference, claim.reference, requirement.signedIdentity))
        complaint = `a signature for the name ${JSON.stringify(claim.reference.slice(0, 200))}`;
      else return undefined;
    }
    return complaint;
  }

  return {
    async requireAllowed(offered) {
      const policy = await currentPolicy();
      if (policy === undefined) return undefined;
      const reference = parseImageReference(offered.image);
      const { scope, requirements } = requirementsFor(policy, reference);
      const appraiser = new Appraiser(`image ${referenceText(reference)}`, imagePolicyChecks);
      const rejected = requirements.some(({ type }) => type === 'reject');
      const rule = { expected: 'an image that the policy allows', found: `the rule for ${scope}` };
      appraiser.report('image.allowed', !rejected, rule);
      const signed = requirements.filter(
        (each): each is SignatureRequirement => each.type === 'signedBy' || each.type === 'sigstoreSigned',
      );
      if (rejected || signed.length === 0) {
        appraiser.notAsked('image.signed', 'the policy requires no signature of this image');
        return requireAccepted(appraiser.finish());
      }
      const complaints: string[] = [];
      for (const requirement of signed) {
        const complaint = await complaintOf(requirement, reference, offered);
        if (complaint !== undefined) complaints.push(`${requirement.type}: ${complaint}`);
      }
      appraiser.report('image.signed', complaints.length === 0, {
        expected: `${signed.length} signature(s) that the rule for ${scope} requires`,
        found: complaints.length === 0 ? 'all of them' : complaints.join('; '),
      });
      return requireAccepted(appraiser.finish());
    },

    async requireNotRejected(image) {
      const policy = await currentPolicy();
      if (policy === undefined) return;
      const reference = parseImageReference(image);
      const { scope, requirements } = requirementsFor(policy, reference);
      if (!requirements.some(({ type }) => type === 'reject')) return;
      const appraiser = new Appraiser(`image ${referenceText(reference)}`, imagePolicyChecks);
      const rule = { expected: 'an image that the policy allows', found: `the rule for ${scope}` };
      appraiser.report('image.allowed', false, rule);
      appraiser.notAsked('image.signed', 'the policy rejects the image, signed or not');
      requireAccepted(appraiser.finish());
    },
  };
}

function isSigstoreSigned(
  { payload, signature }: Extract<ImageSignature, { kind: 'sigstore' }>,
  pem: Uint8Array,
): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(pem), format: 'pem' });
    return verify(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', payload, key, signature);
  } catch {
    return false;
  }
}

function claimIn(payload: Uint8Array, type: SignatureRequirement['type']) {
  try {
    return parseSignedClaim(payload, type);
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}
