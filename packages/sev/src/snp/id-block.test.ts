import { createPrivateKey } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { verdict } from '../appraisal/appraisal.js';
import { fromHex, toHex } from '../bytes.js';
import { generateP384, type P384PrivateKey } from '../crypto/index.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { p384KeyOfScalar } from '../testing/keys.js';
import { byteArray, byteChange, changed } from '../testing/mutations.js';
import { describeWithVectors, vectors } from '../testing/vectors.js';
import {
  buildIdBlock,
  createIdBlock,
  idAuthentication,
  idBlock,
  idKeyDigest,
  parseIdAuthentication,
  parseIdBlock,
  signIdBlock,
} from './id-block.js';
import { type IdBlockExpectations, idBlockChecks, verifyIdBlock } from './id-block-appraisal.js';

const ids = {
  idKey: '59fb2c686dfa4fef49f38339aa775c90051c28d57383ddc3baf3b5eb4b1496df3b0dbbdcbae5fe27677a644820773fe2',
  authorKey:
    'eed81169fb0cb5e0ec34794f128fd4e0c4a46f67c65a1adfa81fcb24bcc088c272369b7ffc3eb2b6af6a4284a1b36c5f',
};

/** Where the four parts that a signer draws at random stand. */
const signatures: readonly (readonly [number, number])[] = [
  [0x40, 0x90],
  [0x680, 0x90],
];
const withoutSignatures = (auth: Uint8Array) => {
  const copy = auth.slice();
  for (const [start, length] of signatures) copy.fill(0, start, start + length);
  return toHex(copy);
};

describeWithVectors('a published ID block', () => {
  const block = vectors('snp/idblock/virtee.id-block.bin');
  const auth = vectors('snp/idblock/virtee.id-auth.bin');
  const keyOf = (name: string): P384PrivateKey => {
    const pem = new TextDecoder().decode(vectors(`snp/idblock/virtee.${name}-key.pem`));
    const { d } = createPrivateKey(pem).export({ format: 'jwk' });
    return p384KeyOfScalar(new Uint8Array(Buffer.from(d!, 'base64url')));
  };
  const keys = { idKey: keyOf('id'), authorKey: keyOf('author') };

  test('says what it was made to say', () => {
    const parsed = parseIdBlock(block);
    expect(parsed).toMatchObject({ guestSvn: 0, policy: { word: 0x30000n } });
    expect(toHex(parsed.launchDigest)).toMatch(/^a14d6383/);
  });

  test('has keys with the published digests', async () => {
    const { idKey, author } = parseIdAuthentication(auth);
    expect(toHex(await idKeyDigest(idKey))).toBe(ids.idKey);
    expect(toHex(await idKeyDigest(author!.key))).toBe(ids.authorKey);
    expect(toHex(await idKeyDigest(keys.idKey.publicKey))).toBe(ids.idKey);
    expect(toHex(await idKeyDigest(keys.authorKey.publicKey))).toBe(ids.authorKey);
  });

  test('is verified, with every expectation', async () => {
    const appraisal = await verifyIdBlock(block, auth, {
      idKeyDigests: [fromHex(ids.idKey)],
      authorKeyDigests: [fromHex(ids.authorKey)],
      launchDigest: parseIdBlock(block).launchDigest,
      policy: 0x30000n,
      minimumGuestSvn: 0,
      familyId: parseIdBlock(block).familyId,
      imageId: parseIdBlock(block).imageId,
    });
    expect(appraisal.checks.map(({ status }) => status)).toEqual(
      Object.keys(idBlockChecks).map(() => 'pass'),
    );
  });

  test('is created again byte by byte, apart from what a signer draws at random', async () => {
    const { launchDigest, familyId, imageId } = parseIdBlock(block);
    const created = await createIdBlock({ launchDigest, familyId, imageId, ...keys });
    expect(toHex(created.idBlock)).toBe(toHex(block));
    expect(withoutSignatures(created.idAuthentication)).toBe(withoutSignatures(auth));
    expect(toHex(created.idAuthentication)).not.toBe(toHex(auth));
    expect(verdict(await verifyIdBlock(created.idBlock, created.idAuthentication)).word).toBe('authentic');
  });
});

const values = {
  launchDigest: new Uint8Array(48).fill(1),
  familyId: new Uint8Array(16).fill(2),
  imageId: new Uint8Array(16).fill(3),
  guestSvn: 4,
  policy: 0xb001fn,
};
const idKey = await generateP384();
const authorKey = await generateP384();
const alone = await createIdBlock({ ...values, idKey });
const authored = await createIdBlock({ ...values, idKey, authorKey });
const put = (bytes: Uint8Array, at: number, ...changes: number[]) => {
  const copy = bytes.slice();
  copy.set(changes, at);
  return copy;
};
const fieldOf = (work: () => unknown) => {
  try {
    work();
  } catch (error) {
    if (error instanceof MalformedError) return error.field;
    throw error;
  }
  return 'accepted';
};

describe('an ID block', () => {
  test('reads what it writes', () => {
    const policies = fc.nat(0x3ff).map((bits) => (BigInt(bits) << 16n) | 0x20000n);
    const any = fc.record({
      launchDigest: byteArray(48),
      familyId: byteArray(16),
      imageId: byteArray(16),
      guestSvn: fc.nat(0xffff_ffff),
      policy: policies,
    });
    fc.assert(
      fc.property(any, (each) => {
        const { policy, raw, ...rest } = parseIdBlock(buildIdBlock(each));
        expect({ ...rest, policy: policy.word }).toEqual(each);
        expect(raw).toHaveLength(96);
      }),
    );
  });

  test('of little says little', () => {
    const block = buildIdBlock({ launchDigest: values.launchDigest });
    expect(parseIdBlock(block)).toMatchObject({
      familyId: new Uint8Array(16),
      imageId: new Uint8Array(16),
      guestSvn: 0,
      policy: { word: 0x30000n },
    });
  });

  test('that firmware refuses is refused', () => {
    const block = buildIdBlock(values);
    expect(fieldOf(() => parseIdBlock(block.subarray(1)))).toBe('length');
    expect(fieldOf(() => parseIdBlock(put(block, 0x50, 2)))).toBe('version');
    expect(fieldOf(() => parseIdBlock(put(block, 0x5a, 0)))).toBe('bit 17');
    expect(() => parseIdBlock(put(block, 0x5f, 1))).toThrow('reserved bits at offset 0x58');
    expect(() => buildIdBlock({ ...values, policy: 0n })).toThrow(MalformedError);
    expect(() => buildIdBlock({ ...values, familyId: new Uint8Array(15) })).toThrow(InvalidArgumentError);
    expect(() => buildIdBlock({ ...values, guestSvn: -1 })).toThrow(InvalidArgumentError);
  });

  test('is described field by field', () => {
    const rows = idBlock.describe(idBlock.parse(alone.idBlock));
    expect(rows.map(({ name }) => name)).toEqual([
      'launchDigest',
      'familyId',
      'imageId',
      'version',
      'guestSvn',
      'policy',
    ]);
    expect(rows.at(-1)?.value).toContain('DEBUG');
  });
});

describe('ID authentication information', () => {
  test('is strict about what firmware does not use', () => {
    const auth = authored.idAuthentication;
    const reserved = [0x08, 0x3f, 0xd0, 0x23f, 0x2d4, 0x643, 0x644, 0x67f, 0x710, 0x87f, 0xc83, 0xc84, 0xfff];
    for (const at of reserved) expect(() => parseIdAuthentication(put(auth, at, 1))).toThrow(MalformedError);
    expect(fieldOf(() => parseIdAuthentication(auth.subarray(1)))).toBe('length');
    expect(() => parseIdAuthentication(put(auth, 0x240, 1))).toThrow('curve');
    expect(() => parseIdAuthentication(put(auth, 0x880, 1))).toThrow('curve at offset 0x880');
    expect(fieldOf(() => parseIdAuthentication(put(auth, 0, 2)))).toBe('idKeyAlgorithm');
    expect(fieldOf(() => parseIdAuthentication(put(auth, 0, 0)))).toBe('idKeyAlgorithm');
  });

  test('names an author or none', () => {
    const { idAuthentication: auth } = alone;
    expect(parseIdAuthentication(auth)).not.toHaveProperty('author');
    expect(parseIdAuthentication(put(auth, 4, 1))).not.toHaveProperty('author');
    expect(fieldOf(() => parseIdAuthentication(put(auth, 0x680, 1)))).toBe('idKeySignature');
    expect(fieldOf(() => parseIdAuthentication(put(auth, 0x6c8, 1)))).toBe('idKeySignature');
    expect(fieldOf(() => parseIdAuthentication(put(authored.idAuthentication, 4, 0)))).toBe(
      'authorKeyAlgorithm',
    );
    expect(idAuthentication.parse(auth).authorKeyAlgorithm).toBe('none');
  });

  test('is not made for something else than an ID block', async () => {
    await expect(signIdBlock(new Uint8Array(96), { idKey })).rejects.toThrow(MalformedError);
  });
});

describe('an ID block’s appraisal', () => {
  const failedChecks = async (
    block: Uint8Array,
    auth: Uint8Array,
    expectations?: IdBlockExpectations,
  ): Promise<string[]> => verdict(await verifyIdBlock(block, auth, expectations)).failed.map(({ id }) => id);
  const { idBlock: block, idAuthentication: auth } = authored;

  test('passes, and lists what was not asked', async () => {
    const appraisal = await verifyIdBlock(block, auth);
    expect(verdict(appraisal).word).toBe('authentic');
    expect(appraisal.checks.filter(({ status }) => status === 'not-asked')).toHaveLength(7);
    const single = await verifyIdBlock(alone.idBlock, alone.idAuthentication, { minimumGuestSvn: 4 });
    expect(verdict(single).word).toBe('accepted');
    expect(single.checks.find(({ id }) => id === 'id-block.author-signature')?.status).toBe('not-asked');
  });

  test('fails for any change of a signed byte', async () => {
    for (const at of [0x00, 0x2f, 0x30, 0x40, 0x54, 0x58])
      expect(await failedChecks(changed(block, { at, mask: 1 }), auth)).toEqual(['id-block.signature']);
  });

  test('fails for a signature of another key', async () => {
    const stranger = await generateP384();
    const forged = await createIdBlock({ ...values, idKey: stranger });
    const grafted = put(auth, 0x40, ...forged.idAuthentication.subarray(0x40, 0xd0));
    expect(await failedChecks(block, grafted)).toEqual(['id-block.signature']);
    const otherAuthor = await createIdBlock({ ...values, idKey, authorKey: stranger });
    const graftedAuthor = put(auth, 0x680, ...otherAuthor.idAuthentication.subarray(0x680, 0x710));
    const author = await idKeyDigest(authorKey.publicKey);
    expect(await failedChecks(block, graftedAuthor)).toEqual(['id-block.author-signature']);
    expect(await failedChecks(block, graftedAuthor, { authorKeyDigests: [author] })).toEqual([
      'id-block.author-signature',
      'id-block.author-key',
    ]);
    expect(
      await failedChecks(block, graftedAuthor, { idKeyDigests: [author], authorKeyDigests: [author] }),
    ).toContain('id-block.id-key');
  });

  test('fails for keys that are not listed', async () => {
    const own = await idKeyDigest(idKey.publicKey);
    const author = await idKeyDigest(authorKey.publicKey);
    const strange = new Uint8Array(48);
    expect(await failedChecks(block, auth, { idKeyDigests: [strange, own] })).toEqual([]);
    expect(await failedChecks(block, auth, { idKeyDigests: [strange] })).toEqual(['id-block.id-key']);
    expect(await failedChecks(block, auth, { idKeyDigests: [] })).toEqual(['id-block.id-key']);
    expect(await failedChecks(block, auth, { idKeyDigests: [author] })).toEqual(['id-block.id-key']);
    expect(await failedChecks(block, auth, { authorKeyDigests: [strange, author] })).toEqual([]);
    expect(await failedChecks(block, auth, { authorKeyDigests: [own] })).toEqual(['id-block.author-key']);
    const { idBlock: bare, idAuthentication: bareAuth } = alone;
    expect(await failedChecks(bare, bareAuth, { authorKeyDigests: [author] })).toEqual([
      'id-block.author-key',
    ]);
  });

  test('takes an ID key that a trusted author signed', async () => {
    const author = await idKeyDigest(authorKey.publicKey);
    expect(await failedChecks(block, auth, { idKeyDigests: [], authorKeyDigests: [author] })).toEqual([]);
  });

  test.each([
    ['id-block.measurement', { launchDigest: new Uint8Array(48) }],
    ['id-block.family-id', { familyId: new Uint8Array(16) }],
    ['id-block.image-id', { imageId: new Uint8Array(16) }],
    ['id-block.policy', { policy: 0x3001fn }],
    ['id-block.guest-svn', { minimumGuestSvn: 5 }],
  ])('fails %s alone', async (id, expectations: IdBlockExpectations) => {
    expect(await failedChecks(block, auth, { ...values, minimumGuestSvn: 4 })).toEqual([]);
    expect(await failedChecks(block, auth, expectations)).toEqual([id]);
  });

  test('says what a policy allows', async () => {
    const { checks } = await verifyIdBlock(block, auth, { policy: 0x3001fn });
    expect(checks.find(({ id }) => id === 'id-block.policy')).toMatchObject({
      expected: '0x3001f, allows SMT',
      found: '0xb001f, allows DEBUG, SMT',
    });
  });

  test('fails every check for what is no ID block', async () => {
    const all = Object.keys(idBlockChecks);
    const asked = { idKeyDigests: [], authorKeyDigests: [], ...values, minimumGuestSvn: 4 };
    expect(await failedChecks(new Uint8Array(96), auth, asked)).toEqual(all);
    expect(await failedChecks(block, new Uint8Array(4096), asked)).toEqual(all);
    expect(await failedChecks(block, auth.subarray(1), asked)).toEqual(all);
  });

  test('refuses an expected policy that nobody can have', async () => {
    await expect(verifyIdBlock(block, auth, { policy: 0n })).rejects.toThrow(MalformedError);
  });

  test('never accepts a changed byte', async () => {
    await fc.assert(
      fc.asyncProperty(byteChange(96 + 4096), async (change) => {
        const inBlock = change.at < 96;
        const changedAuth = inBlock ? auth : changed(auth, { ...change, at: change.at - 96 });
        const failed = await failedChecks(inBlock ? changed(block, change) : block, changedAuth, {
          idKeyDigests: [await idKeyDigest(idKey.publicKey)],
        });
        expect(failed).not.toEqual([]);
      }),
      { numRuns: 150 },
    );
  });
});
