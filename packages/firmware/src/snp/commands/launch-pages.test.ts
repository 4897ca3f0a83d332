import { buildCpuidPage, type CpuidEntry, parseCpuidPage } from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { decryptMemory } from '../../memory/encryption.js';
import { expectSuccess } from '../../testing/hypervisor.js';
import { nextDigest, noDigest } from '../../testing/page-info.js';
import { SnpHypervisor, snpPlaces } from '../../testing/snp-hypervisor.js';

const { pages } = snpPlaces;

let on: SnpHypervisor;
const fresh = async (options: ConstructorParameters<typeof SnpHypervisor>[0] = {}) => {
  on = new SnpHypervisor(options);
  await on.start();
};
beforeEach(() => fresh());

const plaintextAt = (page: number, length = 4096) =>
  decryptMemory(on.launch().memoryKey, page, on.memory.read(page, length));

describe('the secrets page', () => {
  it.each([
    ['milan', 3, 2, 0x00a00f11, 0, 0n],
    ['turin', 5, 3, 0x00b00f21, 200, 0x0fn],
  ] as const)(
    'of %s with reports of version %i is as the sheet has it',
    async (generation, reportVersion, version, fms, tscFactor, mitigations) => {
      await fresh({ generation, snp: { reportVersion } });
      await on.newGuest({ start: { gosvw: new Uint8Array(16).fill(0x77) } });
      expectSuccess(await on.load('SECRETS'));
      const page = plaintextAt(pages);
      const view = new DataView(page.buffer, page.byteOffset);
      expect([view.getUint32(0, true), view.getUint32(4, true), view.getUint32(8, true)]).toEqual([
        version,
        0,
        fms,
      ]);
      expect(page.slice(0x10, 0x20)).toEqual(new Uint8Array(16).fill(0x77));
      const keys = [0, 1, 2, 3].map((n) => page.slice(0x20 + 32 * n, 0x40 + 32 * n).join());
      expect(new Set(keys).size).toBe(4);
      expect(page.slice(0xa0, 0x160)).toEqual(new Uint8Array(0xc0));
      expect(view.getUint32(0x160, true)).toBe(tscFactor);
      expect(view.getBigUint64(0x168, true)).toBe(mitigations);
      expect(page.slice(0x170)).toEqual(new Uint8Array(0xe90));
    },
  );

  it('may be asked for twice; both hold the same keys, and the measurement tells', async () => {
    await on.newGuest();
    expectSuccess(await on.load('SECRETS', { gpa: 0x1000 }));
    const once = on.launch().digest;
    expectSuccess(await on.load('SECRETS', { gpa: 0x2000, page: pages + 4096 }));
    expect(plaintextAt(pages + 4096)).toEqual(plaintextAt(pages));
    expect(on.launch().digest).toEqual(nextDigest(once, { type: 5, gpa: 0x2000 }));
    expect(on.launch().digest).not.toEqual(once);
  });

  it('shows nothing of what the host put there before', async () => {
    await on.newGuest();
    expectSuccess(await on.load('SECRETS', { contents: new Uint8Array(4096).fill(0xee) }));
    expect(plaintextAt(pages).slice(0x170)).toEqual(new Uint8Array(0xe90));
  });
});

describe('the CPUID page', () => {
  const entry = (values: Partial<CpuidEntry>): CpuidEntry => ({
    eaxIn: 0,
    ecxIn: 0,
    xcr0In: 0n,
    xssIn: 0n,
    eax: 0,
    ebx: 0,
    ecx: 0,
    edx: 0,
    ...values,
  });
  const vendor = entry({ eaxIn: 0, eax: 0x10, ebx: 0x6874_7541, edx: 0x6974_6e65, ecx: 0x444d_4163 });
  const features = entry({ eaxIn: 1, eax: 0xa00f11, ecx: 0x8000_0001, edx: 0x078b_fbff });
  const honest = [vendor, features, entry({ eaxIn: 0x8000_001f, eax: 0x1a, ebx: 0x73 })];

  beforeEach(() => on.newGuest());

  it('with what the processor has becomes the guest’s, unhashed', async () => {
    const contents = buildCpuidPage(honest);
    expect(await on.load('CPUID', { contents, gpa: 0x3000 })).toBe('SUCCESS');
    expect(plaintextAt(pages)).toEqual(contents);
    expect(on.launch().digest).toEqual(nextDigest(noDigest, { type: 6, gpa: 0x3000 }));
  });

  it.each<[string, Partial<CpuidEntry>, Partial<CpuidEntry>]>([
    ['another vendor', { eaxIn: 0, ebx: 0x756e_6547 }, vendor],
    ['a feature that is not there', { eaxIn: 1, ecx: 0xffff_ffff }, { ecx: 0xfefa_320b }],
    ['AVX-512 on Milan', { eaxIn: 7, ebx: 0xf1bf_97a9 }, { ebx: 0x219c_97a9 }],
    ['another C-bit', { eaxIn: 0x8000_001f, ebx: 0x6f }, { ebx: 0x73 }],
  ])('with %s is refused, and shows what would do', async (_what, lie, truth) => {
    const contents = buildCpuidPage([...honest.slice(1), entry(lie)]);
    expect(await on.load('CPUID', { contents })).toBe('INVALID_PARAM');
    expect(on.reverseMap.state(pages)).toBe('Pre-Guest');
    expect(on.launch().digest).toEqual(noDigest);
    const corrected = parseCpuidPage(on.memory.read(pages, 4096));
    expect(corrected.slice(0, 2)).toEqual(honest.slice(1));
    const { eax: _eax, ...expected } = truth;
    expect(corrected[2]).toMatchObject(expected);
    expect(await on.launchUpdate('CPUID', { page: pages })).toBe('SUCCESS');
    expect(parseCpuidPage(plaintextAt(pages))).toEqual(corrected);
  });

  it('with AVX-512 is right on Genoa', async () => {
    await fresh({ generation: 'genoa' });
    await on.newGuest();
    const contents = buildCpuidPage([entry({ eaxIn: 7, ebx: 0xf1bf_97a9 })]);
    expect(await on.load('CPUID', { contents })).toBe('SUCCESS');
  });

  it('with more than 64 entries, or reserved bytes, is refused and stays as it is', async () => {
    for (const at of [0, 4, 0x10 + 0x28]) {
      const contents = buildCpuidPage(honest);
      contents[at] = 65;
      const page = pages + 4096 * (1 + at);
      expect(await on.load('CPUID', { contents, page })).toBe('INVALID_PARAM');
      expect(on.memory.read(page, 4096)).toEqual(contents);
    }
  });

  it('is answered for in messages, too', async () => {
    expectSuccess(await on.finish());
    const request = buildCpuidPage([entry({ eaxIn: 7, ebx: 0xf1bf_97a9 }), features]).slice(0, 16 + 2 * 48);
    const payload = await on.exchange('CPUID_REQ', request);
    const view = new DataView(payload.buffer, payload.byteOffset);
    expect([payload.length, view.getUint32(0, true), view.getUint32(4, true)]).toEqual([16 + 96, 0, 2]);
    expect(view.getUint32(0x10 + 0x1c, true)).toBe(0x219c_97a9);
    const wrong = request.slice();
    wrong[0] = 3;
    const refused = await on.exchange('CPUID_REQ', wrong);
    expect([refused.length, refused[0]]).toEqual([16, 0x16]);
  });
});
