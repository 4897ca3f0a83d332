import {
  buildSnpGuestPolicy,
  equalBytes,
  type PageState,
  type SnpPageType,
  type StatusName,
} from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { createDram } from '../../memory/dram.js';
import { decryptMemory } from '../../memory/encryption.js';
import { expectSuccess, seededRandom } from '../../testing/hypervisor.js';
import { nextDigest, noDigest } from '../../testing/page-info.js';
import { plainPolicy, SnpHypervisor, snpPlaces } from '../../testing/snp-hypervisor.js';

const { context, otherContext, thirdContext, pages } = snpPlaces;
const random = seededRandom('launch');

let on: SnpHypervisor;
const fresh = async (options: ConstructorParameters<typeof SnpHypervisor>[0] = {}) => {
  on = new SnpHypervisor(options);
  await on.start();
};
beforeEach(() => fresh());

const plaintextAt = (page: number, length = 4096) =>
  decryptMemory(on.launch().memoryKey, page, on.memory.read(page, length));

describe('LAUNCH_START', () => {
  beforeEach(async () => expectSuccess(await on.create()));

  it.each<[string, bigint, StatusName]>([
    ['bit 17 zero', 0x10000n, 'INVALID_PARAM'],
    ['a reserved bit', plainPolicy | (1n << 26n), 'INVALID_PARAM'],
    ['the last reserved bit', plainPolicy | (1n << 63n), 'INVALID_PARAM'],
    ['no SMT where that is on', 0x20000n, 'POLICY_FAILURE'],
    ['the ABI of this firmware', plainPolicy | 0x0137n, 'SUCCESS'],
    ['a later minor version', plainPolicy | 0x0138n, 'POLICY_FAILURE'],
    ['a later major version', plainPolicy | 0x0200n, 'POLICY_FAILURE'],
    ['one socket', plainPolicy | (1n << 20n), 'SUCCESS'],
    ['no swapping', plainPolicy | (1n << 25n), 'SUCCESS'],
    ['CXL, which this firmware does not know', plainPolicy | (1n << 21n), 'INVALID_PARAM'],
    ['XTS, which this firmware does not know', plainPolicy | (1n << 22n), 'INVALID_PARAM'],
    ['RAPL, which this firmware does not know', plainPolicy | (1n << 23n), 'INVALID_PARAM'],
    ['hiding, which this firmware does not know', plainPolicy | (1n << 24n), 'INVALID_PARAM'],
  ])('on Milan with a policy of %s', async (_what, policy, status) => {
    expect(await on.launchStart(policy)).toBe(status);
    expect(on.guest().state).toBe(status === 'SUCCESS' ? 'LAUNCH' : 'INIT');
  });

  it.each<[string, bigint, StatusName]>([
    ['AES-256-XTS, which is on', 1n << 22n, 'SUCCESS'],
    ['RAPL to be off, which is on', 1n << 23n, 'POLICY_FAILURE'],
    ['hidden ciphertext, which is not', 1n << 24n, 'POLICY_FAILURE'],
    ['CXL allowed', 1n << 21n, 'SUCCESS'],
  ])('on Turin with a policy of %s', async (_what, bits, status) => {
    await fresh({ generation: 'turin' });
    expectSuccess(await on.create());
    expect(await on.launchStart(plainPolicy | bits)).toBe(status);
  });

  it('looks at how the machine is set up', async () => {
    const settings = {
      smt: false,
      tsme: true,
      ecc: true,
      cxl: true,
      aes256Xts: false,
      aliasCheckComplete: true,
    };
    await fresh({ generation: 'genoa', snp: { settings } });
    expectSuccess(await on.create());
    expect(await on.launchStart(buildSnpGuestPolicy({ aes256Xts: true, cxlAllowed: true }))).toBe(
      'POLICY_FAILURE',
    );
    expect(await on.launchStart(buildSnpGuestPolicy({}))).toBe('POLICY_FAILURE');
    expect(await on.launchStart(buildSnpGuestPolicy({ cxlAllowed: true }))).toBe('SUCCESS');
  });

  it('binds a guest to an agent that runs and stays on its chip', async () => {
    const mayMigrate = plainPolicy | (1n << 18n);
    const agent = (address: number) => ({
      flags: { migrationAgent: true, initialMigrationImage: false },
      migrationAgentAddress: BigInt(address),
    });
    await on.runningGuest({ context: otherContext });
    await on.newGuest({ context: thirdContext, asid: 2, policy: mayMigrate });
    expect(await on.launchStart(plainPolicy, agent(otherContext))).toBe('POLICY_FAILURE');
    expect(await on.launchStart(mayMigrate, agent(otherContext + 1))).toBe('INVALID_ADDRESS');
    expect(await on.launchStart(mayMigrate, agent(snpPlaces.result))).toBe('INVALID_GUEST');
    expect(await on.launchStart(mayMigrate, agent(thirdContext))).toBe('INVALID_GUEST_STATE');
    expectSuccess(await on.finish({ context: thirdContext }));
    expect(await on.launchStart(mayMigrate, agent(thirdContext))).toBe('POLICY_FAILURE');
    expect(await on.launchStart(mayMigrate, agent(otherContext))).toBe('SUCCESS');
    expect(on.launch().reportIdMa).toEqual(on.launch(otherContext).reportId);
    expect(on.launch(otherContext).reportIdMa).toEqual(new Uint8Array(32).fill(0xff));
  });

  it('takes a frequency that the time stamp counter can be scaled to', async () => {
    expect(await on.launchStart(plainPolicy, { desiredTscFrequency: 0xffff_ffff })).toBe('INVALID_PARAM');
    expect(await on.launchStart(plainPolicy, { desiredTscFrequency: 1_225_000 })).toBe('SUCCESS');
    expectSuccess(await on.finish());
    const payload = await on.exchange('TSC_INFO_REQ', new Uint8Array(128));
    const view = new DataView(payload.buffer, payload.byteOffset);
    expect(view.getUint32(0, true)).toBe(0);
    expect(view.getBigUint64(8, true)).toBe(1n << 31n);
    expect(view.getBigUint64(0x10, true)).toBe(0n);
    expect(view.getUint32(0x18, true)).toBe(200);
    const reserved = new Uint8Array(128);
    reserved[127] = 1;
    expect((await on.exchange('TSC_INFO_REQ', reserved))[0]).toBe(0x16);
  });

  it('draws new keys for each guest', async () => {
    expectSuccess(await on.launchStart());
    await on.newGuest({ context: otherContext, asid: 2 });
    const [a, b] = [on.launch(), on.launch(otherContext)];
    const contents = new Uint8Array(4096).fill(1);
    expectSuccess(await on.activate(1));
    expectSuccess(await on.load('NORMAL', { contents }));
    const first = on.memory.read(pages, 4096);
    expect(decryptMemory(b.memoryKey, pages, first)).not.toEqual(contents);
    expect(a.reportId).not.toEqual(b.reportId);
  });
});

describe('LAUNCH_UPDATE', () => {
  const contents = random(4096);

  describe('of a page', () => {
    beforeEach(() => on.newGuest());

    it.each<[SnpPageType, number, boolean]>([
      ['NORMAL', 1, true],
      ['VMSA', 2, true],
      ['ZERO', 3, false],
      ['UNMEASURED', 4, false],
      ['SECRETS', 5, false],
    ])('of type %s measures, encrypts and gives it to the guest', async (type, number, isHashed) => {
      const gpa = type === 'VMSA' ? 0xffff_ffff_f000 : 0x8000;
      expect(await on.load(type, { contents, gpa, permissions: [1, 3, 0x1f] })).toBe('SUCCESS');
      const page = { type: number, gpa, permissions: [1, 3, 0x1f] };
      const measured = isHashed ? { ...page, contents } : page;
      expect(on.launch().digest).toEqual(nextDigest(noDigest, measured));
      expect(on.reverseMap.state(pages)).toBe('Guest-Valid');
      expect(on.reverseMap.entry(pages)).toMatchObject({
        asid: 1,
        guestAddress: gpa,
        vmsa: type === 'VMSA',
        permissions: [0x1f, 1, 3, 0x1f],
      });
      expect(on.memory.read(pages, 4096)).not.toEqual(contents);
      const expected = { NORMAL: contents, VMSA: contents, UNMEASURED: contents, ZERO: new Uint8Array(4096) };
      if (type in expected) expect(plaintextAt(pages)).toEqual(expected[type as 'NORMAL']);
    });

    it('goes on from the digest before it', async () => {
      expectSuccess(await on.load('NORMAL', { contents, gpa: 0x1000 }));
      expectSuccess(await on.load('ZERO', { gpa: 0x2000, page: pages + 4096 }));
      const first = nextDigest(noDigest, { type: 1, gpa: 0x1000, contents });
      expect(on.launch().digest).toEqual(nextDigest(first, { type: 3, gpa: 0x2000 }));
    });

    it('of 2 MiB is measured as 512 of 4 KiB', async () => {
      const large = random(2 * 1024 * 1024);
      expect(await on.load('NORMAL', { contents: large, gpa: 0x20_0000, size: '2M' })).toBe('SUCCESS');
      let digest: Uint8Array = noDigest;
      for (let i = 0; i < 512; i++) {
        const part = large.subarray(4096 * i, 4096 * (i + 1));
        digest = nextDigest(digest, { type: 1, gpa: 0x20_0000 + 4096 * i, contents: part });
      }
      expect(on.launch().digest).toEqual(digest);
      expect(equalBytes(plaintextAt(pages, large.length), large)).toBe(true);
      expect(on.reverseMap.entry(pages + 4096)).toMatchObject({ validated: true, size: '2M' });
    });

    it.each(['VMSA', 'SECRETS', 'CPUID'] as const)('of 2 MiB is refused for type %s', async (type) => {
      expect(await on.load(type, { gpa: 0x20_0000, size: '2M' })).toBe('INVALID_PAGE_SIZE');
    });

    it('of another size than the reverse map table has is refused', async () => {
      on.preGuest(pages, 0x20_0000, 1, '2M');
      expect(await on.launchUpdate('NORMAL', { page: pages })).toBe('INVALID_PAGE_SIZE');
      const small = pages + 0x20_0000;
      on.preGuest(small, 0x40_0000);
      expect(await on.launchUpdate('NORMAL', { page: small, size: '2M' })).toBe('INVALID_PAGE_SIZE');
    });

    it('that is at no page’s address, or beyond memory, is refused', async () => {
      expect(await on.launchUpdate('NORMAL', { page: pages + 16 })).toBe('INVALID_ADDRESS');
      expect(await on.launchUpdate('NORMAL', { page: pages + 4096, size: '2M' })).toBe('INVALID_ADDRESS');
      expect(await on.launchUpdate('NORMAL', { page: on.memory.size })).toBe('INVALID_ADDRESS');
    });

    it('of a type that is none is refused', async () => {
      on.preGuest(pages, 0x1000);
      for (const type of [0, 7]) {
        const buffer = new Uint8Array(0x20);
        const view = new DataView(buffer.buffer);
        view.setBigUint64(0, BigInt(context), true);
        view.setUint32(8, type << 1, true);
        view.setBigUint64(0x10, BigInt(pages), true);
        expect(await on.call('SNP_LAUNCH_UPDATE', buffer)).toBe('INVALID_PARAM');
      }
      expect(await on.launchUpdate('NORMAL', { page: pages, permissions: [0, 0, 0x20] })).toBe(
        'INVALID_PARAM',
      );
      expect(await on.launchUpdate('NORMAL', { page: pages, imiPage: true })).toBe('INVALID_PARAM');
      expect(on.launch().digest).toEqual(noDigest);
    });

    it('of another guest is refused', async () => {
      on.preGuest(pages, 0x1000, 2);
      expect(await on.launchUpdate('NORMAL', { page: pages })).toBe('INVALID_PAGE_OWNER');
    });

    it('cannot be launched twice', async () => {
      expectSuccess(await on.load('NORMAL', { contents }));
      expect(await on.launchUpdate('NORMAL', { page: pages })).toBe('INVALID_PAGE_STATE');
    });

    it.each<[PageState, StatusName]>([
      ['Hypervisor', 'INVALID_PAGE_STATE'],
      ['HV-Fixed', 'INVALID_PAGE_STATE'],
      ['Reclaim', 'INVALID_PAGE_STATE'],
      ['Firmware', 'INVALID_PAGE_STATE'],
      ['Context', 'INVALID_PAGE_STATE'],
      ['Metadata', 'INVALID_PAGE_STATE'],
      ['Pre-Guest', 'SUCCESS'],
      ['Pre-Swap', 'INVALID_PAGE_STATE'],
      ['Guest-Invalid', 'INVALID_PAGE_STATE'],
      ['Guest-Valid', 'INVALID_PAGE_STATE'],
    ])('in state %s: %s', async (state, status) => {
      on.reverseMap.setState(pages, state, { asid: 1, guestAddress: 0x1000 });
      on.memory.write(pages, contents);
      expect(await on.launchUpdate('NORMAL', { page: pages })).toBe(status);
      if (status === 'SUCCESS') return;
      expect(on.reverseMap.state(pages)).toBe(state);
      expect(on.memory.read(pages, 4096)).toEqual(contents);
      expect(on.launch().digest).toEqual(noDigest);
    });
  });

  it('of a migration image counts twice, and the launch is not complete without one', async () => {
    await on.newGuest({ start: { flags: { migrationAgent: false, initialMigrationImage: true } } });
    expectSuccess(await on.load('NORMAL', { contents, gpa: 0x1000 }));
    expect(await on.finish()).toBe('INVALID_GUEST_STATE');
    expectSuccess(await on.load('NORMAL', { contents, gpa: 0x2000, page: pages + 4096, imiPage: true }));
    const first = nextDigest(noDigest, { type: 1, gpa: 0x1000, contents });
    const image = { type: 1, gpa: 0x2000, contents, imi: 1 };
    expect(on.launch().digest).toEqual(nextDigest(first, image));
    expect(on.launch().migrationImageDigest).toEqual(nextDigest(noDigest, image));
    expect(await on.finish()).toBe('SUCCESS');
  });

  it('encrypts what it measured, when the host changes the page in between', async () => {
    const dram = createDram(8 * 1024 * 1024);
    let reads = 0;
    await fresh({
      memory: {
        ...dram,
        read(address, length) {
          const bytes = dram.read(address, length);
          if (address === pages && length === 4096 && reads++ > 0) bytes.fill(0xee);
          return bytes;
        },
      },
    });
    await on.newGuest();
    expectSuccess(await on.load('NORMAL', { contents, gpa: 0x1000 }));
    expect(reads).toBe(1);
    expect(on.launch().digest).toEqual(nextDigest(noDigest, { type: 1, gpa: 0x1000, contents }));
    const ciphertext = dram.read(pages, 4096);
    expect(decryptMemory(on.launch().memoryKey, pages, ciphertext)).toEqual(contents);
  });
});
