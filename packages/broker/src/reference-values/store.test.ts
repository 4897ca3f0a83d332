import { InvalidArgumentError, RefusedError, verdict } from '@vouchsafe/sev';
import { base64url, CompactSign, importJWK, type JWK, SignJWT } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { hex, testNow } from '../testing/questions.js';
import { issuerKey, memoryReferenceValues, publicPart, someDocument } from '../testing/reference-values.js';
import { parseReferenceDocument, type ReferenceDocument } from './document.js';
import { referenceValuesAt } from './in-force.js';
import type { ReferenceValueRepository, StoredReference } from './repository.js';
import { referenceMediaType, signReferenceDocument, verifyReferenceDocument } from './signed-document.js';
import { ReferenceValueStore } from './store.js';

let key: JWK;
let second: JWK;
let stranger: JWK;

beforeAll(async () => {
  [key, second, stranger] = await Promise.all([issuerKey(), issuerKey('ES256'), issuerKey()]);
});

const name = 'releases@example.org';
const issuers = () => [{ name, keys: [publicPart(key), publicPart(second)] }];
const aStore = (repository = memoryReferenceValues()) => new ReferenceValueStore(repository, issuers());
const signed = (changes: Partial<ReferenceDocument> = {}, by = key) =>
  signReferenceDocument(someDocument(changes), by);
const day = (text: string) => Date.parse(`${text}T00:00:00Z`);

async function refusedAt(work: Promise<unknown>): Promise<string | undefined> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof RefusedError)) throw error ?? new Error('was not refused');
  return verdict(error.appraisal).failed[0]?.id;
}

describe('signed reference values', () => {
  it('are kept and given back', async () => {
    const store = aStore();
    const { document, appraisal } = await store.accept(await signed(), testNow);
    expect(document).toEqual(someDocument());
    expect(verdict(appraisal).accepted).toBe(true);
    expect(await store.documents(testNow)).toEqual([someDocument()]);
  });

  it('may be signed with Ed25519 or P-256, by any key of the issuer', async () => {
    const store = aStore();
    await store.accept(await signed({}, key), testNow);
    await store.accept(await signed({ version: 8 }, second), testNow);
    expect((await store.documents(testNow)).map(({ version }) => version)).toEqual([7, 8]);
  });

  it('may be published before they begin', async () => {
    const store = aStore();
    await store.accept(await signed({ notBefore: '2026-11-20T00:00:00Z' }), testNow);
    const [set] = referenceValuesAt(await store.documents(testNow), testNow).sets;
    expect(set?.standing).toBe('future');
  });

  it('are not signed with a key of another kind, nor for a document that would be refused', async () => {
    await expect(signed({}, publicPart(key))).rejects.toThrow('expected a private JWK');
    await expect(signed({}, { kty: 'RSA', d: 'AQ' })).rejects.toThrow(InvalidArgumentError);
    await expect(signReferenceDocument({ ...someDocument(), version: 0 }, key)).rejects.toThrow(
      InvalidArgumentError,
    );
  });

  const payload = (document: unknown) => new TextEncoder().encode(JSON.stringify(document));
  const jws = async (header: Record<string, unknown>, bytes: Uint8Array, by = key) =>
    new CompactSign(bytes).setProtectedHeader(header as { alg: string }).sign(await importJWK(by, 'EdDSA'));
  const header = { alg: 'EdDSA', typ: referenceMediaType };
  const unsigned = (alg: string) =>
    `${base64url.encode(JSON.stringify({ ...header, alg }))}.${base64url.encode(payload(someDocument()))}.`;
  const tampered = async () => {
    const [head = '', , signature = ''] = (await signed()).split('.');
    return `${head}.${base64url.encode(payload(someDocument({ version: 9 })))}.${signature}`;
  };

  it.each<[string, string, () => string | Promise<string>]>([
    ['that nobody signed', 'reference.format', () => JSON.stringify(someDocument())],
    ['that are none', 'reference.format', () => 'reference values'],
    ['with the algorithm none', 'reference.format', () => unsigned('none')],
    ['with no signature', 'reference.format', () => unsigned('EdDSA')],
    [
      'signed with a shared secret',
      'reference.format',
      () =>
        new SignJWT({})
          .setProtectedHeader({ alg: 'HS256', typ: referenceMediaType })
          .sign(new Uint8Array(32)),
    ],
    [
      'signed for another purpose',
      'reference.format',
      () => jws({ alg: 'EdDSA', typ: 'JWT' }, payload(someDocument())),
    ],
    [
      'with a critical header',
      'reference.format',
      () => jws({ ...header, b64: true, crit: ['b64'] }, payload(someDocument())),
    ],
    [
      'with a member twice',
      'reference.format',
      () =>
        jws(
          header,
          new TextEncoder().encode(
            JSON.stringify(someDocument()).replace('"version":7', '"version":7,"version":8'),
          ),
        ),
    ],
    ['that are not UTF-8', 'reference.format', () => jws(header, Uint8Array.of(0x22, 0xff, 0x22))],
    [
      'of another format',
      'reference.format',
      () => jws(header, payload({ ...someDocument(), format: 'mine' })),
    ],
    ['too large', 'reference.format', () => 'a.'.padEnd(4_194_305, 'b')],
    ['by an issuer who is not trusted', 'reference.issuer', () => signed({ issuer: 'mallory@example.org' })],
    ['by a stranger in the issuer’s name', 'reference.signature', () => signed({}, stranger)],
    ['changed after they were signed', 'reference.signature', tampered],
    ['whose period is over', 'reference.validity', () => signed({ notAfter: '2026-11-10T00:00:00Z' })],
  ])('are refused %s', async (_, check, text) => {
    const repository = memoryReferenceValues();
    const store = aStore(repository);
    expect(await refusedAt(store.accept(await text(), testNow))).toBe(check);
    expect(await repository.list()).toEqual([]);
  });

  it('do not verify with a key that the header brings along', async () => {
    const text = await jws({ ...header, jwk: publicPart(stranger) }, payload(someDocument()), stranger);
    const { appraisal, document } = await verifyReferenceDocument(text, issuers(), testNow);
    expect(document).toBeUndefined();
    expect(verdict(appraisal).failed[0]?.id).toBe('reference.signature');
  });

  it.each([7, 6, 1])('are refused when version 7 is known and they are version %i', async (version) => {
    const store = aStore();
    await store.accept(await signed(), testNow);
    expect(await refusedAt(store.accept(await signed({ version }), testNow))).toBe('reference.version');
    expect((await store.documents(testNow)).map((each) => each.version)).toEqual([7]);
  });

  it('count their versions for each issuer and name apart', async () => {
    const store = new ReferenceValueStore(memoryReferenceValues(), [
      ...issuers(),
      { name: 'other@example.org', keys: [publicPart(key)] },
    ]);
    await store.accept(await signed(), testNow);
    await store.accept(await signed({ name: 'db', version: 1 }), testNow);
    await store.accept(await signed({ issuer: 'other@example.org', version: 1 }), testNow);
    expect(await store.documents(testNow)).toHaveLength(3);
  });

  it('come once, of two replicas that publish the same version at one time', async () => {
    const repository = memoryReferenceValues();
    // Both have looked before either has written.
    const blind: ReferenceValueRepository = { ...repository, highestVersion: async () => 0 };
    const text = await signed();
    await aStore(blind).accept(text, testNow);
    expect(await refusedAt(aStore(blind).accept(text, testNow))).toBe('reference.version');
    expect(await repository.list()).toHaveLength(1);
  });
});

describe('a database that was edited by hand', () => {
  const row = async (changes: Partial<StoredReference> = {}, document: Partial<ReferenceDocument> = {}) => {
    const text = await signed(document);
    const { issuer, name: of, version, notBefore, notAfter } = someDocument(document);
    return { issuer, name: of, version, notBefore, notAfter, document: text, ...changes };
  };
  const holding = (...rows: StoredReference[]) =>
    aStore({ ...memoryReferenceValues(), list: async () => rows });

  it.each<[string, string, () => Promise<StoredReference>]>([
    [
      'a document by a stranger',
      'reference.signature',
      async () => row({ document: await signed({}, stranger) }),
    ],
    ['text that is no document', 'reference.format', () => row({ document: 'x' })],
    ['another version beside it', 'reference.version', () => row({ version: 9 })],
    ['another name beside it', 'reference.version', () => row({ name: 'db' })],
  ])('is noticed, and nothing is decided: %s', async (_, check, edited) => {
    expect(await refusedAt(holding(await edited()).documents(testNow))).toBe(check);
  });

  it('does not bring a version back by calling its successor older', async () => {
    const store = holding(await row({ version: 1 }, { version: 8 }), await row());
    expect(await refusedAt(store.documents(testNow))).toBe('reference.version');
  });

  it('is believed about nothing that stands beside the signature', async () => {
    const store = holding(await row({ notAfter: '2036-12-01T00:00:00Z' }));
    const documents = await store.documents(day('2026-12-02'));
    expect(referenceValuesAt(documents, day('2026-12-02')).sets[0]?.standing).toBe('ended');
  });

  it('may hold what no key signs any more, once a newer version has replaced it', async () => {
    const old = await row({ document: await signed({}, stranger) });
    const next = await row({}, { version: 8 });
    expect((await holding(old, next).documents(testNow)).map(({ version }) => version)).toEqual([8]);
    const later = await row({}, { version: 8, notBefore: '2026-11-20T00:00:00Z' });
    expect(await refusedAt(holding(old, later).documents(testNow))).toBe('reference.signature');
  });

  it('is looked at again each time, though signatures are verified once', async () => {
    const rows: StoredReference[] = [await row()];
    const store = aStore({ ...memoryReferenceValues(), list: async () => rows });
    expect(await store.documents(testNow)).toHaveLength(1);
    rows[0] = await row({ document: await signed({}, stranger) });
    expect(await refusedAt(store.documents(testNow))).toBe('reference.signature');
  });

  it('may hold documents of an issuer who is trusted no more: they do not count', async () => {
    const document = { issuer: 'former@example.org' };
    expect(await holding(await row({}, document)).documents(testNow)).toEqual([]);
  });
});

describe('a document of reference values', () => {
  const good = someDocument({
    idKeyDigests: [
      { value: hex(48, '1'), notBefore: '2026-11-02T00:00:00Z', notAfter: '2026-11-03T00:00:00Z' },
    ],
    tcbFloors: [{ productLine: 'Turin', reported: { fmc: 1, snp: 3 }, label: 'since August' }],
    values: { snp_smt_enabled: true },
  });

  it('is read as it is', () => {
    expect(parseReferenceDocument(JSON.parse(JSON.stringify(good)))).toEqual(good);
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['an unknown member', { measurement: [] }, /reference values/],
    ['no version', { version: undefined }, /reference values\.version/],
    ['a version below one', { version: 0 }, /reference values\.version/],
    ['half a version', { version: 1.5 }, /reference values\.version/],
    ['a name with a slash', { name: 'a/b' }, /reference values\.name/],
    ['an issuer without a name', { issuer: '' }, /reference values\.issuer/],
    ['a date that is none', { notBefore: '2026-13-01T00:00:00Z' }, /reference values\.notBefore/],
    ['a date in a time zone', { notBefore: '2026-11-01T00:00:00+01:00' }, /reference values\.notBefore/],
    ['an end before its beginning', { notAfter: '2026-10-01T00:00:00Z' }, /ends before it begins/],
    ['an empty list', { measurements: [] }, /measurements.*an empty list/],
    ['a digest that is cut', { measurements: [{ value: hex(47, 'a') }] }, /measurements\.0\.value.*48 bytes/],
    ['a digest in capitals', { measurements: [{ value: hex(48, 'A') }] }, /lower-case/],
    ['a digest of zeros', { idKeyDigests: [{ value: hex(48, '0') }] }, /all zero/],
    ['host data of another length', { hostData: [{ value: hex(48, 'a') }] }, /hostData\.0\.value.*32 bytes/],
    [
      'a value that lasts longer than its document',
      { measurements: [{ value: hex(48, 'a'), notAfter: '2027-01-01T00:00:00Z' }] },
      /measurements\.0.*leaves/,
    ],
    [
      'a value that ends before it begins',
      {
        measurements: [
          { value: hex(48, 'a'), notBefore: '2026-11-20T00:00:00Z', notAfter: '2026-11-10T00:00:00Z' },
        ],
      },
      /ends before/,
    ],
    [
      'a floor of no product line',
      { tcbFloors: [{ productLine: 'Rome', reported: { snp: 1 } }] },
      /tcbFloors\.0\.productLine/,
    ],
    ['a floor of nothing', { tcbFloors: [{ productLine: 'Milan', reported: {} }] }, /names no component/],
    [
      'a floor beyond a byte',
      { tcbFloors: [{ productLine: 'Milan', reported: { snp: 256 } }] },
      /tcbFloors\.0\.reported/,
    ],
    [
      'an unknown component',
      { tcbFloors: [{ productLine: 'Milan', reported: { psp: 1 } }] },
      /tcbFloors\.0\.reported/,
    ],
  ])('is refused with %s', (_, changes, message) => {
    const value = JSON.parse(JSON.stringify({ ...good, ...changes }));
    expect(() => parseReferenceDocument(value)).toThrow(InvalidArgumentError);
    expect(() => parseReferenceDocument(value)).toThrow(message);
  });

  it.each([null, [], 'text', 7])('is refused when it is %j', (value) => {
    expect(() => parseReferenceDocument(value)).toThrow(InvalidArgumentError);
  });
});
