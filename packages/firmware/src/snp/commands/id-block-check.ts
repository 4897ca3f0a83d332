import {
  ecPublicKey,
  equalBytes,
  idAuthentication,
  idBlock,
  idKeyDigest,
  signedBytesOfIdKey,
  verifyP384,
} from '@vouchsafe/sev';
import { refuseUnless } from '../../processor/command-refusal.js';
import type { SnpGuestIdentity, SnpLaunch } from '../guest-contexts.js';
import { parsedOrRefused, type SnpRequest } from '../snp-request.js';

type IdBlockPart = Pick<
  SnpGuestIdentity,
  'familyId' | 'imageId' | 'guestSvn' | 'idKeyDigest' | 'authorKeyDigest' | 'authorKeyEnabled'
>;

export const noIdBlock: IdBlockPart = {
  familyId: new Uint8Array(16),
  imageId: new Uint8Array(16),
  guestSvn: 0,
  idKeyDigest: new Uint8Array(48),
  authorKeyDigest: new Uint8Array(48),
  authorKeyEnabled: false,
};

/**
 * The firmware's check of an ID block: algorithms and form (INVALID_PARAM), the author's and then the ID key's signature
 * (BAD_SIGNATURE), the block's version (INVALID_PARAM), its policy (POLICY_FAILURE), its digest (BAD_MEASUREMENT).
 */
export async function checkIdBlock(
  request: SnpRequest,
  command: {
    readonly idBlockAddress: bigint;
    readonly idAuthAddress: bigint;
    readonly authorKeyEnabled: boolean;
    readonly launch: SnpLaunch;
  },
): Promise<IdBlockPart> {
  const { launch, authorKeyEnabled } = command;
  const blockBytes = request.take(command.idBlockAddress, idBlock.size);
  const authentication = request.structureAt(command.idAuthAddress, idAuthentication);
  refuseUnless(authentication.idKeyAlgorithm !== 'none', 'INVALID_PARAM');
  refuseUnless(!authorKeyEnabled || authentication.authorKeyAlgorithm !== 'none', 'INVALID_PARAM');
  const { idKey, idBlockSignature, idKeySignature } = authentication;
  const author = authorKeyEnabled
    ? parsedOrRefused(() => ecPublicKey.parse(authentication.authorKey))
    : undefined;

  if (author !== undefined) {
    const vouched = await verifyP384(author, 'sha384', signedBytesOfIdKey(idKey), idKeySignature);
    refuseUnless(vouched, 'BAD_SIGNATURE');
  }
  refuseUnless(await verifyP384(idKey, 'sha384', blockBytes, idBlockSignature), 'BAD_SIGNATURE');

  const block = parsedOrRefused(() => idBlock.parse(blockBytes));
  const policy = new DataView(blockBytes.buffer, blockBytes.byteOffset).getBigUint64(
    idBlock.offsetOf('policy'),
    true,
  );
  refuseUnless(policy === launch.policy.word, 'POLICY_FAILURE');
  refuseUnless(equalBytes(block.launchDigest, launch.digest), 'BAD_MEASUREMENT');
  return {
    familyId: block.familyId.slice(),
    imageId: block.imageId.slice(),
    guestSvn: block.guestSvn,
    idKeyDigest: await idKeyDigest(idKey),
    authorKeyDigest: author === undefined ? noIdBlock.authorKeyDigest : await idKeyDigest(author),
    authorKeyEnabled,
  };
}
