import { beforeAll, describe, expect, test } from 'vitest';
import { type Appraisal, requireAccepted, verdict } from '../appraisal/appraisal.js';
import { concat, toHex } from '../bytes.js';
import { isOnP384 } from '../crypto/index.js';
import { MalformedError } from '../errors.js';
import {
  by,
  type CaKey,
  endorse,
  generateCaKey,
  generatePlatformKeys,
  keptCaKey,
  makeAuthority,
  makeCaCertificate,
  makePlatform,
  type PlatformKeys,
  type TestAuthority,
  unsigned,
} from '../testing/development-platform.js';
import { describeWithVectors, vectors } from '../testing/vectors.js';
import { buildExport, type PlatformChain, parseChainFiles } from './bundle.js';
import { bodyDigest, parseAmdCaCertificate } from './ca-certificate.js';
import { ecdsaSignature, parseSevCertificate, rsaPublicKey, sevCertificate } from './certificate.js';
import { addSignature, signSevCertificate } from './certificate-signature.js';
import { verifyPlatformChain } from './chain.js';
import { type PlatformChainCheck, platformChainChecks } from './chain-checks.js';
import {
  amdPlatformRoots,
  developmentKeyId,
  developmentPlatformRoot,
  generations,
  titleOf,
} from './roots.js';

let arkKey: CaKey;
let askKey: CaKey;
let strangerKey: CaKey;
let authority: TestAuthority;
let keys: PlatformKeys;
let otherKeys: PlatformKeys;
let platform: Required<PlatformChain>;
let otherPlatform: Required<PlatformChain>;

beforeAll(async () => {
  [arkKey, askKey, strangerKey] = [generateCaKey(2048), generateCaKey(2048), generateCaKey(2048)];
  authority = await makeAuthority('naples', arkKey, askKey);
  [keys, otherKeys] = [await generatePlatformKeys(), await generatePlatformKeys()];
  platform = await makePlatform(authority, keys);
  otherPlatform = await makePlatform(authority, otherKeys);
});

type Changes = { readonly [K in keyof PlatformChain]?: PlatformChain[K] | undefined };
type Options = Partial<Parameters<typeof verifyPlatformChain>[1]>;

/** The good platform with some certificates changed; `undefined` takes one away. */
function changed(changes: Changes): PlatformChain {
  const entries = Object.entries({ ...platform, ...changes }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as PlatformChain;
}

const verify = (changes: Changes, options: Options = {}) =>
  verifyPlatformChain(changed(changes), { roots: [authority.root], ...options });

function failures(appraisal: Appraisal): string[] {
  return verdict(appraisal).failed.map(({ id }) => id);
}

async function expectRefusal(changes: Changes, ids: readonly PlatformChainCheck[], options: Options = {}) {
  const appraisal = await verify(changes, options);
  expect(failures(appraisal)).toEqual(ids);
  expect(verdict(appraisal).accepted).toBe(false);
  for (const check of verdict(appraisal).failed) expect(check.hint, check.id).toBeTruthy();
  return appraisal;
}

const find = (appraisal: Appraisal, id: PlatformChainCheck) =>
  appraisal.checks.find((check) => check.id === id);
const signed = async (certificate: Uint8Array, ...signers: Parameters<typeof signSevCertificate>[1][]) => {
  let bytes = certificate;
  for (const signer of signers) bytes = await signSevCertificate(bytes, signer);
  return parseSevCertificate(bytes);
};

describe('a good chain', () => {
  test('leads to the development root, by name', async () => {
    const appraisal = await verify({});
    requireAccepted(appraisal);
    expect(appraisal.root).toEqual({
      name: 'Vouchsafe Development, Naples',
      kind: 'development',
      fingerprint: await bodyDigest(authority.ark),
    });
    expect(appraisal.checks.map(({ id }) => id)).toEqual(Object.keys(platformChainChecks));
  });

  test('is authentic without an expectation, accepted with one', async () => {
    expect(verdict(await verify({ exportedCek: undefined })).word).toBe('authentic');
    expect(verdict(await verify({})).word).toBe('accepted');
    expect(verdict(await verify({ exportedCek: undefined }, { owner: platform.oca.raw })).word).toBe(
      'accepted',
    );
  });

  test('has the PEK’s signatures in either order', async () => {
    const pek = await signed(unsigned('PEK', keys.pek), by('CEK', keys.cek), by('OCA', keys.oca));
    requireAccepted(await verify({ pek }));
  });

  test('is accepted when both kinds of roots were given on purpose', async () => {
    requireAccepted(await verify({}, { roots: [...amdPlatformRoots, authority.root] }));
  });

  test('survives the journey through an export', async () => {
    const bytes = buildExport(platform, { full: true });
    const chain = parseChainFiles([{ name: 'export', bytes }]);
    requireAccepted(await verifyPlatformChain(chain, { roots: [authority.root] }));
  });
});

describe('a chain of every generation’s form', () => {
  let large: readonly [CaKey, CaKey];
  beforeAll(() => {
    large = [keptCaKey('ark', 4096), keptCaKey('ask', 4096)];
  });

  test.each(generations)('%s', async (generation) => {
    const caKeys = generation === 'naples' ? ([arkKey, askKey] as const) : large;
    const own = await makeAuthority(generation, ...caKeys);
    const chain = await makePlatform(own, keys);
    expect(own.ark.raw.length).toBe(generation === 'naples' ? 832 : 1600);
    expect(chain.cek.signatures[0].algorithm).toBe(generation === 'naples' ? 'RSA-SHA256' : 'RSA-SHA384');
    const appraisal = await verifyPlatformChain(chain, { roots: [own.root] });
    expect(failures(appraisal)).toEqual([]);
    expect(appraisal.root?.name).toBe(`Vouchsafe Development, ${titleOf(generation)}`);
  });
});

describe('hostile hosts', () => {
  test('swapped PDH', async () => {
    await expectRefusal({ pdh: otherPlatform.pdh }, ['chain.pdh.pek-signature']);
    const own = await signed(unsigned('PDH', otherKeys.pdh), by('PEK', otherKeys.pdh));
    await expectRefusal({ pdh: own }, ['chain.pdh.pek-signature']);
  });

  test('PEK not signed by the owner’s CA', async () => {
    const pek = await signed(unsigned('PEK', keys.pek), by('OCA', otherKeys.oca), by('CEK', keys.cek));
    await expectRefusal({ pek }, ['chain.pek.oca-signature']);
  });

  test('a genuine platform of another owner', async () => {
    const appraisal = await expectRefusal({}, ['chain.oca.pinned'], { owner: otherPlatform.oca.raw });
    expect(appraisal.root?.name).toBe(authority.root.name);
  });

  test('PEK that no chip signed', async () => {
    const pek = await signed(unsigned('PEK', keys.pek), by('OCA', keys.oca));
    await expectRefusal({ pek }, ['chain.pek.cek-signature']);
  });

  test('CEK of another chip', async () => {
    await expectRefusal({ cek: otherPlatform.cek }, ['chain.cek.exported', 'chain.pek.cek-signature']);
    await expectRefusal({ ...otherPlatform, exportedCek: undefined }, ['chain.cek.exported'], {
      exportedCek: platform.exportedCek.raw,
    });
    await expectRefusal({ ...otherPlatform, exportedCek: platform.exportedCek }, ['chain.cek.exported']);
  });

  test('CEK that no ASK signed', async () => {
    const cek = parseSevCertificate(endorse({ ...authority, askKey: strangerKey }, platform.exportedCek.raw));
    await expectRefusal({ cek }, ['chain.cek.ask-signature']);
    const appraisal = await expectRefusal({ cek: platform.exportedCek }, ['chain.cek.ask-signature']);
    expect(find(appraisal, 'chain.cek.ask-signature')?.found).toContain('as a chip exports it');
    expect(appraisal.root).toBeUndefined();
  });

  test('RSA signature with bytes beyond the modulus', async () => {
    const raw = platform.cek.raw.slice();
    raw[sevCertificate.offsetOf('signature2') - 1] = 1;
    await expectRefusal({ cek: parseSevCertificate(raw) }, ['chain.cek.ask-signature']);
  });

  test('forged ASK', async () => {
    const { keyId, certifyingId } = authority.ask;
    const ask = makeCaCertificate({
      keyId,
      certifyingId,
      usage: 'ASK',
      key: strangerKey,
      signer: strangerKey,
    });
    const cek = parseSevCertificate(endorse({ ask, askKey: strangerKey }, platform.exportedCek.raw));
    await expectRefusal({ ask, cek }, ['chain.ask.ark-signature']);
  });

  test('unpinned root that copies the names of the trusted one', async () => {
    const forged = await makeAuthority('naples', strangerKey, askKey);
    const appraisal = await expectRefusal({ ark: forged.ark, ask: forged.ask }, [
      'chain.ark.root',
      'chain.ark.key',
      'chain.ask.key',
      'chain.ask.generation',
    ]);
    expect(appraisal.root).toBeUndefined();
    expect(find(appraisal, 'chain.ark.root')?.hint).toContain('this very root');
  });

  test('a root that names nobody', async () => {
    const keyId = new Uint8Array(16).fill(7);
    const ark = makeCaCertificate({ keyId, certifyingId: keyId, usage: 'ARK', key: arkKey, signer: arkKey });
    const appraisal = await verify({ ark });
    expect(failures(appraisal)).toContain('chain.ark.root');
    expect(find(appraisal, 'chain.ark.root')?.found).toContain('an unknown ARK with key id 0707');
  });

  test('a development root where AMD’s is expected: the hint names --root', async () => {
    const appraisal = await verify({}, { roots: amdPlatformRoots });
    expect(failures(appraisal)).toContain('chain.ark.root');
    expect(find(appraisal, 'chain.ark.root')?.found).toContain('Vouchsafe Development ARK, Naples');
    expect(find(appraisal, 'chain.ark.root')?.hint).toContain('--root FILE');
    expect(appraisal.root).toBeUndefined();
  });

  test('any root where none is trusted', async () => {
    expect(failures(await verify({}, { roots: [] }))).toContain('chain.ark.root');
  });

  test('firmware that is too old', async () => {
    await expectRefusal({}, ['chain.pek.api'], { minimumApi: { apiMajor: 0, apiMinor: 25 } });
    await expectRefusal({}, ['chain.pek.api'], { minimumApi: { apiMajor: 1, apiMinor: 0 } });
    requireAccepted(await verify({}, { minimumApi: { apiMajor: 0, apiMinor: 24 } }));
  });
});

describe('the authorities', () => {
  test('an ARK whose own signature is wrong', async () => {
    const raw = authority.ark.raw.slice();
    raw[raw.length - 256]! ^= 1;
    await expectRefusal({ ark: parseAmdCaCertificate(raw) }, ['chain.ark.self-signature']);
  });

  test('an ARK that names another signer', async () => {
    const names = { keyId: authority.ark.keyId, certifyingId: new Uint8Array(16), usage: 'ARK' } as const;
    const ark = makeCaCertificate({ ...names, key: arkKey, signer: arkKey });
    const roots = [await developmentPlatformRoot(ark.raw)];
    await expectRefusal({ ark }, ['chain.ark.certifying-id'], { roots });
  });

  test('an ASK that names another signer', async () => {
    const names = { keyId: authority.ask.keyId, certifyingId: new Uint8Array(16), usage: 'ASK' } as const;
    const ask = makeCaCertificate({ ...names, key: askKey, signer: arkKey });
    await expectRefusal({ ask }, ['chain.ask.certifying-id']);
  });

  test('an ASK of another generation', async () => {
    const names = {
      keyId: developmentKeyId('ASK', 'rome'),
      certifyingId: authority.ark.keyId,
      usage: 'ASK',
    } as const;
    const ask = makeCaCertificate({ ...names, key: askKey, signer: arkKey });
    const appraisal = await expectRefusal({ ask }, ['chain.ask.generation']);
    expect(find(appraisal, 'chain.ask.generation')?.found).toBe('Vouchsafe Development ASK, Rome');
  });

  test('keys with another exponent', async () => {
    const weak = generateCaKey(2048, 3);
    const weakAsk = await makeAuthority('naples', arkKey, weak);
    const cek = parseSevCertificate(endorse(weakAsk, platform.exportedCek.raw));
    await expectRefusal({ ask: weakAsk.ask, cek }, ['chain.ask.key']);
    const weakArk = await makeAuthority('naples', weak, askKey);
    const roots = [weakArk.root];
    await expectRefusal({ ark: weakArk.ark, ask: weakArk.ask }, ['chain.ark.key'], { roots });
  });

  test('keys of another size', async () => {
    const arkId = authority.ark.keyId;
    const names = { keyId: authority.ask.keyId, certifyingId: arkId, usage: 'ASK' } as const;
    const ask = makeCaCertificate({ ...names, key: keptCaKey('ask', 4096), signer: keptCaKey('ark', 4096) });
    expect(failures(await verify({ ask }))).toEqual([
      'chain.ask.key',
      'chain.ask.ark-signature',
      'chain.cek.ask-signature',
      'chain.slots',
    ]);
  });

  test('an ASK in the root’s place, a root in the ASK’s', async () => {
    const { keyId } = authority.ark;
    const ark = makeCaCertificate({ keyId, certifyingId: keyId, usage: 'ASK', key: arkKey, signer: arkKey });
    const roots = [{ ...authority.root, arkFingerprint: await bodyDigest(ark) }];
    await expectRefusal({ ark }, ['chain.ark.usage'], { roots });
    const names = { keyId: authority.ask.keyId, certifyingId: keyId, usage: 'ARK' } as const;
    const ask = makeCaCertificate({ ...names, key: askKey, signer: arkKey });
    await expectRefusal({ ask }, ['chain.ask.usage', 'chain.cek.ask-signature']);
  });
});

describe('usages and slots', () => {
  test('a key of another purpose in each role', async () => {
    const pdh = await signed(unsigned('PDH', keys.pdh, { algorithm: 'ECDSA-SHA256' }), by('PEK', keys.pek));
    await expectRefusal({ pdh }, ['chain.pdh.usage']);
    const pdhAsPek = await signed(unsigned('PDH', keys.pdh, { usage: 'PEK' }), by('PEK', keys.pek));
    await expectRefusal({ pdh: pdhAsPek }, ['chain.pdh.usage']);
    const pek = await signed(
      unsigned('PEK', keys.pek, { usage: 'CEK' }),
      by('OCA', keys.oca),
      by('CEK', keys.cek),
    );
    await expectRefusal({ pek }, ['chain.pek.usage', 'chain.pdh.pek-signature']);
    const oca = await signed(unsigned('OCA', keys.oca, { usage: 'CEK' }), {
      ...by('OCA', keys.oca),
      usage: 'CEK',
    });
    expect(failures(await verify({ oca }))).toEqual([
      'chain.oca.usage',
      'chain.pek.oca-signature',
      'chain.slots',
    ]);
    const cekAsOca = endorse(authority, unsigned('CEK', keys.cek, { usage: 'OCA' }));
    expect(failures(await verify({ cek: parseSevCertificate(cekAsOca) }))).toEqual([
      'chain.cek.usage',
      'chain.pek.cek-signature',
    ]);
  });

  test('an OCA that another OCA signed', async () => {
    const oca = await signed(unsigned('OCA', keys.oca), by('OCA', otherKeys.oca));
    await expectRefusal({ oca }, ['chain.oca.self-signature']);
  });

  test('a signer that signed twice', async () => {
    const pdh = await signed(unsigned('PDH', keys.pdh), by('PEK', keys.pek), by('PEK', keys.pek));
    const appraisal = await expectRefusal({ pdh }, ['chain.pdh.pek-signature']);
    expect(find(appraisal, 'chain.pdh.pek-signature')?.found).toBe('both slots name PEK');
  });

  test.each(['ECDSA-SHA384', 'RSA-SHA256'] as const)(
    'a slot that no check reads: it names the PEK, with %s',
    async (algorithm) => {
      const noise = new Uint8Array(0x200).fill(0x5a, 0, 48);
      const ridden = addSignature(platform.pdh.raw, { usage: 'PEK', algorithm }, noise);
      const appraisal = await expectRefusal({ pdh: parseSevCertificate(ridden) }, ['chain.slots']);
      expect(find(appraisal, 'chain.slots')?.found).toBe(`PDH also signed by PEK with ${algorithm}`);
    },
  );

  test('a stranger in a spare slot', async () => {
    const pdh = await signed(unsigned('PDH', keys.pdh), by('PEK', keys.pek), by('OCA', keys.oca));
    const appraisal = await expectRefusal({ pdh }, ['chain.slots']);
    expect(find(appraisal, 'chain.slots')?.found).toBe('PDH also signed by OCA with ECDSA-SHA256');
  });

  test('a PDH off the curve, and one that is RSA’s', async () => {
    const y = keys.pdh.publicKey.y.slice();
    y[47]! ^= 1;
    expect(await isOnP384({ x: keys.pdh.publicKey.x, y })).toBe(false);
    const key = { ...keys.pdh, publicKey: { x: keys.pdh.publicKey.x, y } };
    await expectRefusal({ pdh: await signed(unsigned('PDH', key), by('PEK', keys.pek)) }, ['chain.pdh.key']);

    const publicKey = rsaPublicKey.build({
      modulusBits: 2048,
      modulus: concat(new Uint8Array(256), askKey.modulus),
      exponent: concat(new Uint8Array(509), askKey.exponent),
    });
    const fields = sevCertificate.parse(unsigned('PDH', keys.pdh));
    const rsa = sevCertificate.build({ ...fields, algorithm: 'RSA-SHA256', publicKey });
    const pdh = await signed(rsa, by('PEK', keys.pek));
    await expectRefusal({ pdh }, ['chain.pdh.usage', 'chain.pdh.key']);
  });

  test('a signature of zeros', async () => {
    const zeros = ecdsaSignature.build({ r: new Uint8Array(48), s: new Uint8Array(48) });
    const signer = { usage: 'PEK', algorithm: 'ECDSA-SHA256' } as const;
    const pdh = parseSevCertificate(addSignature(unsigned('PDH', keys.pdh), signer, zeros));
    await expectRefusal({ pdh }, ['chain.pdh.pek-signature']);
  });
});

describe('what is missing', () => {
  const needs = {
    pdh: ['chain.pdh.usage', 'chain.pdh.key', 'chain.pdh.pek-signature', 'chain.slots'],
    pek: [
      'chain.pek.usage',
      'chain.pek.oca-signature',
      'chain.pek.cek-signature',
      'chain.pek.api',
      'chain.pdh.pek-signature',
      'chain.slots',
    ],
    oca: [
      'chain.oca.usage',
      'chain.oca.self-signature',
      'chain.oca.pinned',
      'chain.pek.oca-signature',
      'chain.slots',
    ],
    cek: [
      'chain.cek.usage',
      'chain.cek.ask-signature',
      'chain.cek.exported',
      'chain.pek.cek-signature',
      'chain.slots',
    ],
    ask: [
      'chain.ask.usage',
      'chain.ask.key',
      'chain.ask.certifying-id',
      'chain.ask.generation',
      'chain.ask.ark-signature',
      'chain.cek.ask-signature',
    ],
    ark: [
      'chain.ark.root',
      'chain.ark.usage',
      'chain.ark.key',
      'chain.ark.certifying-id',
      'chain.ark.self-signature',
      'chain.ask.key',
      'chain.ask.certifying-id',
      'chain.ask.generation',
      'chain.ask.ark-signature',
    ],
  } as const;

  test.each(Object.entries(needs))('without %s its checks fail and say how to get it', async (role, ids) => {
    const options = { owner: platform.oca.raw, minimumApi: { apiMajor: 0, apiMinor: 17 } };
    const appraisal = await expectRefusal({ [role]: undefined }, ids, options);
    const check = appraisal.checks.find(({ found }) =>
      found?.startsWith(`no ${role.toUpperCase()} certificate`),
    );
    expect(check?.hint).toMatch(role === 'cek' || role === 'ask' || role === 'ark' ? /kds fetch/ : /export/);
    expect(appraisal.root).toBeUndefined();
  });

  test('an empty chain is refused', async () => {
    const appraisal = await verifyPlatformChain({}, { roots: [authority.root] });
    expect(verdict(appraisal).word).toBe('refused');
    expect(appraisal.checks.some(({ status }) => status === 'pass')).toBe(false);
  });
});

test('a required owner that is no certificate is the caller’s mistake, named as such', async () => {
  await expect(verify({}, { owner: new Uint8Array(3) })).rejects.toThrow(MalformedError);
  await expect(verify({}, { owner: new Uint8Array(3) })).rejects.toThrow('required owner: length');
});

test('the appraisal is data: it survives JSON', async () => {
  const appraisal = await verify({});
  expect(JSON.parse(JSON.stringify(appraisal))).toEqual(appraisal);
  expect(appraisal.root?.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  expect(toHex(authority.ark.keyId)).toBe(authority.root.arkKeyId);
});

describeWithVectors('AMD’s root where a development root is trusted', () => {
  test.each(generations)('%s is refused, with a hint', async (generation) => {
    const ca = ['ask', 'ark'].map((name) => ({ name, bytes: vectors(`sev/ca/${generation}/${name}.cert`) }));
    const { ask, ark } = parseChainFiles(ca);
    const appraisal = await verify({ ask, ark });
    const check = find(appraisal, 'chain.ark.root');
    expect(check?.status).toBe('fail');
    expect(check?.found).toContain(`AMD ARK, ${titleOf(generation)}`);
    expect(check?.hint).toContain('--root');
    expect(appraisal.root).toBeUndefined();
  });
});
