import {
  buildIdBlock,
  generateP384,
  idKeyDigest,
  isZero,
  type NewIdBlock,
  type P384PrivateKey,
  parseSnpReport,
  type StatusName,
  signIdBlock,
  signP384,
  snpLaunchFinishBuffer,
} from '@vouchsafe/sev';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { expectSuccess } from '../../testing/hypervisor.js';
import { reportIn, snpTestAuthority, verifiedBy } from '../../testing/snp-authority.js';
import { plainPolicy, SnpHypervisor, snpPlaces } from '../../testing/snp-hypervisor.js';

let idKey: P384PrivateKey;
let authorKey: P384PrivateKey;
beforeAll(async () => {
  idKey = await generateP384();
  authorKey = await generateP384();
});

let on: SnpHypervisor;
beforeEach(async () => {
  on = new SnpHypervisor();
  await on.start();
  await on.newGuest();
  expectSuccess(await on.load('NORMAL', { contents: new Uint8Array(4096).fill(1) }));
});

const blockOf = (values: Partial<NewIdBlock> = {}) =>
  buildIdBlock({
    launchDigest: on.launch().digest,
    familyId: new Uint8Array(16).fill(0xfa),
    imageId: new Uint8Array(16).fill(0x1a),
    guestSvn: 7,
    policy: plainPolicy,
    ...values,
  });

/** Offsets are those of the reference sheet, section 5. */
const at = {
  version: 0x50,
  idKeyAlgorithm: 0,
  authorKeyAlgorithm: 4,
  reserved: 8,
  blockSignature: 0x40,
  idKey: 0x240,
  idKeySignature: 0x680,
  authorKey: 0x880,
} as const;

type Edit = (bytes: Uint8Array) => void;
const put =
  (offset: number, value: number): Edit =>
  (bytes) => {
    bytes[offset] = value;
  };
const flipped =
  (offset: number): Edit =>
  (bytes) => {
    bytes[offset]! ^= 1;
  };

describe('LAUNCH_FINISH with an ID block', () => {
  it.each([false, true])(
    'of this digest and policy fixes who the guest is (author key: %s)',
    async (authorKeyGiven) => {
      const idBlock = blockOf();
      const keys = authorKeyGiven ? { idKey, authorKey } : { idKey };
      const idAuthentication = await signIdBlock(idBlock, keys);
      expect(await on.finish({ idBlock, idAuthentication, authorKey: authorKeyGiven })).toBe('SUCCESS');
      expect(on.guest().state).toBe('RUNNING');
      const { report } = reportIn(await on.exchange('REPORT_REQ', new Uint8Array(96)));
      const parsed = parseSnpReport(report);
      expect(parsed).toMatchObject({
        guestSvn: 7,
        familyId: new Uint8Array(16).fill(0xfa),
        imageId: new Uint8Array(16).fill(0x1a),
        idKeyDigest: await idKeyDigest(idKey.publicKey),
        signerInfo: { authorKeyEnabled: authorKeyGiven },
      });
      if (authorKeyGiven) expect(parsed.authorKeyDigest).toEqual(await idKeyDigest(authorKey.publicKey));
      else expect(isZero(parsed.authorKeyDigest)).toBe(true);
    },
  );

  it('whose author key is not asked about leaves it out of the report', async () => {
    const idBlock = blockOf();
    const idAuthentication = await signIdBlock(idBlock, { idKey, authorKey });
    expectSuccess(await on.finish({ idBlock, idAuthentication }));
    expect(isZero(on.launch().identity!.authorKeyDigest)).toBe(true);
  });

  const finishWith = async (change: {
    block?: Partial<NewIdBlock>;
    signed?: Edit;
    authentication?: Edit;
  }): Promise<StatusName> => {
    const idBlock = blockOf(change.block);
    const idAuthentication = await signIdBlock(idBlock, { idKey, authorKey });
    change.signed?.(idBlock);
    change.authentication?.(idAuthentication);
    return on.finish({ idBlock, idAuthentication, authorKey: true });
  };

  it.each<[string, Parameters<typeof finishWith>[0], StatusName]>([
    ['for another digest', { block: { launchDigest: new Uint8Array(48).fill(1) } }, 'BAD_MEASUREMENT'],
    ['for another policy', { block: { policy: 0xb0000n } }, 'POLICY_FAILURE'],
    ['that was changed', { signed: flipped(0x54) }, 'BAD_SIGNATURE'],
    ['of another version, changed', { signed: put(at.version, 2) }, 'BAD_SIGNATURE'],
    ['with a bad signature', { authentication: flipped(at.blockSignature) }, 'BAD_SIGNATURE'],
    ['with an ID key of another’s', { authentication: flipped(at.idKey + 4) }, 'BAD_SIGNATURE'],
    ['whose author signed otherwise', { authentication: flipped(at.idKeySignature) }, 'BAD_SIGNATURE'],
    ['whose author is another', { authentication: flipped(at.authorKey + 4) }, 'BAD_SIGNATURE'],
    ['without an algorithm', { authentication: put(at.idKeyAlgorithm, 0) }, 'INVALID_PARAM'],
    ['with an unknown algorithm', { authentication: put(at.idKeyAlgorithm, 2) }, 'INVALID_PARAM'],
    ['without the author’s algorithm', { authentication: put(at.authorKeyAlgorithm, 0) }, 'INVALID_PARAM'],
    ['with reserved bytes', { authentication: put(at.reserved, 1) }, 'INVALID_PARAM'],
    ['with another curve', { authentication: put(at.idKey, 1) }, 'INVALID_PARAM'],
    ['with an author of another curve', { authentication: put(at.authorKey, 1) }, 'INVALID_PARAM'],
  ])('%s is refused, and the guest does not run', async (_what, change, status) => {
    expect(await finishWith(change)).toBe(status);
    expect(on.guest().state).toBe('LAUNCH');
    expect(on.launch().identity).toBeUndefined();
    expect(await finishWith({})).toBe('SUCCESS');
  });

  it('of another version, well signed, is refused after its signature', async () => {
    const idBlock = blockOf();
    const view = new DataView(idBlock.buffer);
    view.setUint32(at.version, 2, true);
    const idAuthentication = await signIdBlock(blockOf(), { idKey });
    const { r, s } = await signP384(idKey, 'sha384', idBlock);
    idAuthentication.set(r.toReversed(), at.blockSignature);
    idAuthentication.set(s.toReversed(), at.blockSignature + 72);
    expect(await on.finish({ idBlock, idAuthentication })).toBe('INVALID_PARAM');
  });

  it('for a digest with one page more is refused: what was loaded after signing shows', async () => {
    const idBlock = blockOf();
    const idAuthentication = await signIdBlock(idBlock, { idKey });
    expectSuccess(await on.load('ZERO', { page: snpPlaces.pages + 4096, gpa: 0x9000 }));
    expect(await on.finish({ idBlock, idAuthentication })).toBe('BAD_MEASUREMENT');
  });

  it('checks in the firmware’s order: form, author, owner, policy, digest', async () => {
    const all = {
      block: { launchDigest: new Uint8Array(48), policy: 0xb0000n },
      authentication: put(at.idKeyAlgorithm, 3),
    };
    expect(await finishWith(all)).toBe('INVALID_PARAM');
    expect(await finishWith({ ...all, authentication: flipped(at.idKeySignature) })).toBe('BAD_SIGNATURE');
    expect(await finishWith({ block: all.block })).toBe('POLICY_FAILURE');
    expect(await finishWith({ block: { launchDigest: new Uint8Array(48) } })).toBe('BAD_MEASUREMENT');
  });

  it('by a key that nobody trusts is the verifier’s to refuse, and so is a low SVN', async () => {
    const authority = await snpTestAuthority('milan');
    const stranger = await generateP384();
    const idBlock = blockOf({ guestSvn: 1 });
    expectSuccess(
      await on.finish({ idBlock, idAuthentication: await signIdBlock(idBlock, { idKey: stranger }) }),
    );
    const { report } = reportIn(await on.exchange('REPORT_REQ', new Uint8Array(96)));
    const vek = await authority.vcek(on.chip, on.firmware.currentTcb);
    const expectations = {
      requireIdBlock: true,
      idKeyDigests: [await idKeyDigest(idKey.publicKey)],
      minimumGuestSvn: 7,
    };
    const { word, failed } = await verifiedBy(authority, { report, vek }, { expectations });
    expect(word).toBe('refused');
    expect(failed.toSorted()).toEqual(['report.guest-svn', 'report.id-key']);
  });
});

describe('LAUNCH_FINISH', () => {
  it('says nothing of who the guest is without an ID block', async () => {
    expectSuccess(await on.finish({ hostData: new Uint8Array(32).fill(9) }));
    const identity = on.launch().identity!;
    expect(identity.hostData).toEqual(new Uint8Array(32).fill(9));
    expect(isZero(identity.idKeyDigest) && isZero(identity.familyId) && isZero(identity.imageId)).toBe(true);
    expect([identity.guestSvn, identity.authorKeyEnabled]).toEqual([0, false]);
  });

  it('with an author key and no ID block is refused', async () => {
    expect(await on.finish({ authorKey: true })).toBe('INVALID_PARAM');
  });

  it('needs memory under both addresses', async () => {
    const inside = BigInt(snpPlaces.idBlock);
    for (const [idBlockAddress, idAuthAddress] of [
      [BigInt(on.memory.size), inside],
      [inside, BigInt(on.memory.size) - 4095n],
    ] as const) {
      const flags = { idBlock: true, authorKey: false, vcekDisabled: false };
      const gctxAddress = BigInt(snpPlaces.context);
      const command = { gctxAddress, idBlockAddress, idAuthAddress, flags };
      expect(await on.call('SNP_LAUNCH_FINISH', [snpLaunchFinishBuffer, command])).toBe('INVALID_ADDRESS');
    }
  });
});
