import { type Appraisal, Appraiser } from '../appraisal/appraisal.js';
import { checkTable } from '../appraisal/checks.js';
import { equalBytes, toHex } from '../bytes.js';
import { verifyP384 } from '../crypto/index.js';
import { MalformedError } from '../errors.js';
import { explainSnpPolicy, parseSnpGuestPolicy } from './guest-policy.js';
import {
  type IdAuthentication,
  type IdBlock,
  idKeyDigest,
  parseIdAuthentication,
  parseIdBlock,
  signedBytesOfIdKey,
} from './id-block.js';

export const idBlockChecks = checkTable({
  'id-block.form': {
    title: 'ID block and authentication information are well formed',
    protects: 'firmware would refuse the launch, or read other values than the owner',
    hint: 'give the 96 bytes of an ID block and the 4096 bytes of its authentication information',
    kind: 'authenticity',
  },
  'id-block.signature': {
    title: 'ID block signed by the ID key',
    protects: 'a host could put a digest or policy of its own into the ID block',
    hint: 'sign this ID block again with the ID key',
    kind: 'authenticity',
  },
  'id-block.author-signature': {
    title: 'ID key signed by the author key',
    protects: 'a host could sign an ID block with a key of its own under the author’s name',
    hint: 'sign the ID key again with the author key',
    kind: 'authenticity',
  },
  'id-block.id-key': {
    title: 'ID key is one of the expected ones',
    protects: 'anyone can sign an ID block with some key',
    hint: 'compare the digest with `vouchsafe id-block key-digest` of the owner’s key',
    kind: 'expectation',
  },
  'id-block.author-key': {
    title: 'author key is one of the expected ones',
    protects: 'anyone can sign an ID key with some author key',
    hint: 'compare the digest with `vouchsafe id-block key-digest` of the author’s key',
    kind: 'expectation',
  },
  'id-block.measurement': {
    title: 'launch digest is the expected one',
    protects: 'the ID block could be of other images than the ones that were reviewed',
    hint: 'compute the digest of the images (`vouchsafe digest`) and create the ID block for it',
    kind: 'expectation',
  },
  'id-block.policy': {
    title: 'policy is the expected one',
    protects: 'the ID block could ask for a policy that lets the host read the guest',
    hint: 'create the ID block with the policy that the guest is launched with',
    kind: 'expectation',
  },
  'id-block.guest-svn': {
    title: 'guest SVN reaches the floor',
    protects: 'an old image with known flaws could be launched under the owner’s name',
    hint: 'use an ID block of a newer image',
    kind: 'expectation',
  },
  'id-block.family-id': {
    title: 'family id is the expected one',
    protects: 'an ID block of another family of guests could be passed off as this one',
    hint: 'create the ID block with the family id that you expect',
    kind: 'expectation',
  },
  'id-block.image-id': {
    title: 'image id is the expected one',
    protects: 'an ID block of another image could be passed off as this one',
    hint: 'create the ID block with the image id that you expect',
    kind: 'expectation',
  },
});
type CheckId = keyof typeof idBlockChecks;

/** What an ID block is compared with. What is left out is listed as not asked. */
export interface IdBlockExpectations {
  /** Digests of ID keys, 48 bytes each. A key that a trusted author signed passes too. */
  readonly idKeyDigests?: readonly Uint8Array[] | undefined;
  /** Digests of author keys, 48 bytes each. */
  readonly authorKeyDigests?: readonly Uint8Array[] | undefined;
  /** 48 bytes. */
  readonly launchDigest?: Uint8Array | undefined;
  readonly policy?: bigint | undefined;
  readonly minimumGuestSvn?: number | undefined;
  /** 16 bytes. */
  readonly familyId?: Uint8Array | undefined;
  /** 16 bytes. */
  readonly imageId?: Uint8Array | undefined;
}

const askFor: readonly (readonly [keyof IdBlockExpectations, CheckId, string])[] = [
  ['idKeyDigests', 'id-block.id-key', 'ask with idKeyDigests, --trusted-id-keys FILE'],
  ['authorKeyDigests', 'id-block.author-key', 'ask with authorKeyDigests, --trusted-author-keys FILE'],
  ['launchDigest', 'id-block.measurement', 'ask with launchDigest, --measurement DIGEST'],
  ['policy', 'id-block.policy', 'ask with policy, --policy N'],
  ['minimumGuestSvn', 'id-block.guest-svn', 'ask with minimumGuestSvn, --min-guest-svn N'],
  ['familyId', 'id-block.family-id', 'ask with familyId, --family-id HEX'],
  ['imageId', 'id-block.image-id', 'ask with imageId, --image-id HEX'],
];

/**
 * Appraises an ID block as firmware does at the end of a launch, and against what its reader expects. Without expected
 * key digests it proves only that whoever signed meant these values.
 * @param block 96 bytes are expected
 * @param authentication 4096 bytes are expected
 * @throws MalformedError when the expected policy is none that firmware accepts
 */
export async function verifyIdBlock(
  block: Uint8Array,
  authentication: Uint8Array,
  expectations: IdBlockExpectations = {},
): Promise<Appraisal> {
  const appraiser = new Appraiser<CheckId>('ID block', idBlockChecks);
  if (expectations.policy !== undefined) parseSnpGuestPolicy(expectations.policy);
  for (const [name, id, hint] of askFor) {
    if (expectations[name] === undefined) appraiser.notAsked(id, hint);
  }
  const wellFormed = 'an ID block of version 1 and its authentication information';
  let parsed: IdBlock;
  let signed: IdAuthentication;
  try {
    parsed = parseIdBlock(block);
    signed = parseIdAuthentication(authentication);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    appraiser.report('id-block.form', false, { expected: wellFormed, found: error.message });
    appraiser.abandon('the ID block could not be read');
    return appraiser.finish();
  }
  appraiser.report('id-block.form', true, { expected: wellFormed, found: 'the same' });
  const byAuthor = await appraiseSignatures(appraiser, parsed, signed);
  await appraiseKeys(appraiser, signed, expectations, byAuthor);
  appraiseValues(appraiser, parsed, expectations);
  return appraiser.finish();
}

/** Whether the author's signature is valid; false when there is no author. */
async function appraiseSignatures(
  appraiser: Appraiser<CheckId>,
  block: IdBlock,
  { idKey, idBlockSignature, author }: IdAuthentication,
): Promise<boolean> {
  const found = (valid: boolean) => (valid ? 'the same' : 'a signature that is not that key’s');
  const own = await verifyP384(idKey, 'sha384', block.raw, idBlockSignature);
  appraiser.report('id-block.signature', own, {
    expected: 'a valid ECDSA signature by the ID key',
    found: found(own),
  });
  if (author === undefined) {
    appraiser.notAsked('id-block.author-signature', 'there is no author key; expect one by its digest');
    return false;
  }
  const valid = await verifyP384(author.key, 'sha384', signedBytesOfIdKey(idKey), author.idKeySignature);
  appraiser.report('id-block.author-signature', valid, {
    expected: 'a valid ECDSA signature by the author key',
    found: found(valid),
  });
  return valid;
}

async function appraiseKeys(
  appraiser: Appraiser<CheckId>,
  { idKey, author }: IdAuthentication,
  { idKeyDigests, authorKeyDigests }: IdBlockExpectations,
  byAuthor: boolean,
): Promise<void> {
  const idDigest = await idKeyDigest(idKey);
  const authorDigest = author && (await idKeyDigest(author.key));
  const trustedAuthor = authorDigest !== undefined && byAuthor && isListed(authorKeyDigests, authorDigest);
  if (authorKeyDigests !== undefined) {
    appraiser.report('id-block.author-key', trustedAuthor, {
      expected: listText(authorKeyDigests),
      found: authorText(authorDigest, byAuthor),
    });
  }
  if (idKeyDigests !== undefined) {
    appraiser.report('id-block.id-key', trustedAuthor || isListed(idKeyDigests, idDigest), {
      expected: listText(idKeyDigests),
      found: toHex(idDigest),
    });
  }
}

function appraiseValues(
  appraiser: Appraiser<CheckId>,
  block: IdBlock,
  { launchDigest, policy, minimumGuestSvn, familyId, imageId }: IdBlockExpectations,
): void {
  const compare = (id: CheckId, expected: Uint8Array | undefined, found: Uint8Array) => {
    if (expected === undefined) return;
    appraiser.report(id, equalBytes(expected, found), { expected: toHex(expected), found: toHex(found) });
  };
  compare('id-block.measurement', launchDigest, block.launchDigest);
  compare('id-block.family-id', familyId, block.familyId);
  compare('id-block.image-id', imageId, block.imageId);
  if (policy !== undefined) {
    appraiser.report('id-block.policy', policy === block.policy.word, {
      expected: policyText(policy),
      found: policyText(block.policy.word),
    });
  }
  if (minimumGuestSvn !== undefined) {
    appraiser.report('id-block.guest-svn', block.guestSvn >= minimumGuestSvn, {
      expected: `${minimumGuestSvn} or more`,
      found: String(block.guestSvn),
    });
  }
}

const isListed = (list: readonly Uint8Array[] | undefined, value: Uint8Array) =>
  list?.some((each) => equalBytes(each, value)) ?? false;
const listText = (list: readonly Uint8Array[]) =>
  list.length === 0 ? 'none' : `one of ${list.map(toHex).join(', ')}`;

function authorText(found: Uint8Array | undefined, signed: boolean): string {
  if (found === undefined) return 'no author key';
  return signed ? toHex(found) : `${toHex(found)}, which did not sign the ID key`;
}

function policyText(word: bigint): string {
  const open = explainSnpPolicy(word).filter(({ set, concern }) => set && concern === 'open');
  const allowed = open.length === 0 ? '' : `, allows ${open.map(({ label }) => label).join(', ')}`;
  return `0x${word.toString(16)}${allowed}`;
}
