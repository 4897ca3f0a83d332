import {
  initBuffer,
  initExBuffer,
  pdhCertExportBuffer,
  type StatusName,
  sevCommands,
  snpFeatureInfo,
  snpFeatureInfoBuffer,
  snpInitExBuffer,
  snpPlatformStatus,
  snpPlatformStatusBuffer,
  snpShutdownExBuffer,
} from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { expectSuccess, statusOf } from '../../testing/hypervisor.js';
import { SnpHypervisor, type SnpHypervisorOptions, snpPlaces } from '../../testing/snp-hypervisor.js';

const { result, response, plain, pages, context, otherContext } = snpPlaces;
type InitEx = Parameters<typeof snpInitExBuffer.build>[0];
type InitFlags = NonNullable<InitEx['flags']>;

let on: SnpHypervisor;
const fresh = (options: SnpHypervisorOptions = {}) => {
  on = new SnpHypervisor(options);
  return on;
};
beforeEach(() => void fresh());

const flags = (...names: (keyof InitFlags)[]): InitFlags => ({
  initRmp: false,
  listEnabled: false,
  raplDisabled: false,
  ciphertextHiding: false,
  tio: false,
  ...Object.fromEntries(names.map((name) => [name, true])),
});
const initEx = (values: InitEx) => on.call('SNP_INIT_EX', [snpInitExBuffer, values]);
const shutdownEx = (iommu: boolean, x86: boolean) =>
  on.call('SNP_SHUTDOWN_EX', [snpShutdownExBuffer, { flags: { iommu, x86 } }]);
const statusInto = (address: number) =>
  on.call('SNP_PLATFORM_STATUS', [snpPlatformStatusBuffer, { statusAddress: BigInt(address) }]);
const status = async (address: number = result) => {
  expectSuccess(await statusInto(address));
  return on.read(snpPlatformStatus, address);
};

describe('INIT_EX', () => {
  it.each<[string, SnpHypervisorOptions, InitEx, StatusName]>([
    ['nothing on Milan', {}, { flags: flags('initRmp') }, 'SUCCESS'],
    ['RAPL off on Milan', {}, { flags: flags('initRmp', 'raplDisabled') }, 'INVALID_PARAM'],
    ['RAPL off on Genoa', { generation: 'genoa' }, { flags: flags('initRmp', 'raplDisabled') }, 'SUCCESS'],
    [
      'hiding on Genoa',
      { generation: 'genoa' },
      { flags: flags('initRmp', 'ciphertextHiding'), maxSnpAsid: 9 },
      'INVALID_PARAM',
    ],
    [
      'hiding on Turin',
      { generation: 'turin' },
      { flags: flags('initRmp', 'ciphertextHiding'), maxSnpAsid: 9 },
      'SUCCESS',
    ],
    [
      'hiding for no ASID',
      { generation: 'turin' },
      { flags: flags('initRmp', 'ciphertextHiding') },
      'INVALID_PARAM',
    ],
    [
      'hiding for all ASIDs',
      { generation: 'turin' },
      { flags: flags('initRmp', 'ciphertextHiding'), maxSnpAsid: 100 },
      'INVALID_PARAM',
    ],
    [
      'a limit without hiding',
      { generation: 'turin' },
      { flags: flags('initRmp'), maxSnpAsid: 9 },
      'INVALID_PARAM',
    ],
    ['trusted devices', { generation: 'turin' }, { flags: flags('initRmp', 'tio') }, 'INVALID_PARAM'],
    ['no new reverse map table where there is none', {}, { flags: flags() }, 'RMP_INIT_REQUIRED'],
  ])('with %s: %s', async (_what, options, values, expected) => {
    fresh(options);
    expect(await initEx(values)).toBe(expected);
    expect(on.firmware.state).toBe(expected === 'SUCCESS' ? 'INIT' : 'UNINIT');
  });

  it('shows what it switched on, and limits ASIDs', async () => {
    fresh({ generation: 'turin' });
    const asked = flags('initRmp', 'raplDisabled', 'ciphertextHiding');
    expectSuccess(await initEx({ flags: asked, maxSnpAsid: 2 }));
    expectSuccess(await on.flush());
    on.firmwarePage(result);
    expect((await status()).features).toMatchObject({
      raplDisabled: true,
      ciphertextHidingCapable: true,
      ciphertextHidingEnabled: true,
    });
    expect(on.firmware.platformInfo).toMatchObject({ raplDisabled: true, ciphertextHidingEnabled: true });
    expectSuccess(await on.create());
    expectSuccess(await on.launchStart(0x30000n | (1n << 23n) | (1n << 24n)));
    expect(await on.activate(3)).toBe('INVALID_ASID');
    expect(await on.activate(2)).toBe('SUCCESS');
  });

  describe('with a list of ranges', () => {
    const list = 0x6000;
    const withList = (values: Partial<InitEx> = {}) =>
      initEx({ flags: flags('initRmp', 'listEnabled'), listAddress: BigInt(list), ...values });
    const putList = (count: number, ...ranges: readonly (readonly [base: number, pageCount: number])[]) => {
      const bytes = new Uint8Array(4096);
      const view = new DataView(bytes.buffer);
      view.setUint32(0, count, true);
      ranges.forEach(([base, pageCount], i) => {
        view.setBigUint64(8 + 16 * i, BigInt(base), true);
        view.setUint32(16 + 16 * i, pageCount, true);
      });
      on.memory.write(list, bytes);
    };

    it('fixes them for good: RMPUPDATE, the firmware and a new table leave them alone', async () => {
      putList(2, [pages, 2], [0x30_0000, 1]);
      expectSuccess(await withList());
      const isFixed = () =>
        [pages, pages + 4096, 0x30_0000].map((page) => on.reverseMap.state(page)).join() ===
        'HV-Fixed,HV-Fixed,HV-Fixed';
      expect(isFixed()).toBe(true);
      expect(on.reverseMap.state(pages + 8192)).toBe('Hypervisor');
      expect(() => on.firmwarePage(pages)).toThrow('RMPUPDATE');
      expect(await on.reclaim(pages)).toBe('INVALID_PAGE_STATE');
      expectSuccess(await shutdownEx(true, true));
      expectSuccess(await on.call('SNP_INIT'));
      expect(isFixed()).toBe(true);
    });

    it.each<[string, () => void, Partial<InitEx>, StatusName]>([
      ['of too many', () => putList(256), {}, 'INVALID_PARAM'],
      ['with reserved bytes', () => on.memory.write(list, new Uint8Array(8).fill(1)), {}, 'INVALID_PARAM'],
      ['that is not aligned', () => putList(1, [pages + 16, 1]), {}, 'INVALID_ADDRESS'],
      ['beyond memory', () => putList(1, [pages, 0x401]), {}, 'INVALID_ADDRESS'],
      ['from nowhere', () => undefined, { listAddress: 0x80_0000n }, 'INVALID_ADDRESS'],
    ])('refuses one %s', async (_what, prepare, values, expected) => {
      prepare();
      expect(await withList(values)).toBe(expected);
      expect(on.firmware.state).toBe('UNINIT');
    });

    it('over a table that stays needs the hypervisor’s pages', async () => {
      await on.start();
      expectSuccess(await shutdownEx(false, false));
      putList(1, [result, 1]);
      const keep = { flags: flags('listEnabled') };
      expect(await withList(keep)).toBe('INVALID_PAGE_STATE');
      putList(1, [pages, 1]);
      expect(await withList(keep)).toBe('SUCCESS');
      expect([on.reverseMap.state(pages), on.reverseMap.state(result)]).toEqual(['HV-Fixed', 'Firmware']);
    });
  });
});

describe('SHUTDOWN', () => {
  beforeEach(() => on.start());

  it('needs a flush after a guest', async () => {
    await on.newGuest();
    expect(await on.call('SNP_SHUTDOWN')).toBe('ACTIVE');
    expectSuccess(await on.decommission());
    expect(await on.call('SNP_SHUTDOWN')).toBe('DF_FLUSH_REQUIRED');
    expect(await on.call('SNP_DF_FLUSH')).toBe('WBINVD_REQUIRED');
    expectSuccess(await on.flush());
    expect(await on.call('SNP_SHUTDOWN')).toBe('SUCCESS');
  });

  it('wipes contexts that are left', async () => {
    expectSuccess(await on.create());
    expectSuccess(await on.launchStart());
    const { memoryKey, messageKeys, migrationRootKey, offlineKey } = on.launch();
    expectSuccess(await on.call('SNP_SHUTDOWN'));
    const secrets = [memoryKey, migrationRootKey, offlineKey, ...messageKeys];
    expect(secrets.every((secret) => secret.isZeroed)).toBe(true);
    expect(on.reverseMap.state(context)).toBe('Firmware');
  });

  it.each<[iommu: boolean, x86: boolean, StatusName, 'Firmware' | 'Hypervisor' | 'no table']>([
    [false, false, 'SUCCESS', 'Firmware'],
    [true, false, 'SUCCESS', 'Hypervisor'],
    [true, true, 'SUCCESS', 'no table'],
    [false, true, 'INVALID_PARAM', 'Firmware'],
  ])('with IOMMU %s and cores %s: %s, pages are %s', async (iommu, x86, expected, after) => {
    on.preGuest(pages, 0x20_0000, 7, '2M');
    expect(await shutdownEx(iommu, x86)).toBe(expected);
    const map = on.processor.snp?.reverseMap;
    expect(map?.state(result) ?? 'no table').toBe(after);
    if (after === 'Hypervisor') {
      expect([map!.state(pages), map!.state(pages + 4096), map!.hasPagesOf(7)]).toEqual([
        after,
        after,
        false,
      ]);
    }
  });

  it('of the cores is unknown to firmware without it', async () => {
    const { features } = on.firmware.profile;
    fresh({ snp: { features: { ...features, x86Shutdown: false } } });
    await on.start();
    expect(await shutdownEx(true, true)).toBe('INVALID_PARAM');
  });

  it('leaves the table in force: guests’ pages stay closed to SEV’s commands', async () => {
    on.preGuest(pages, 0x1000);
    expectSuccess(await on.call('SNP_SHUTDOWN'));
    expect(on.reverseMap.state(pages)).toBe('Pre-Guest');
    expect(() => on.processor.hostMemory.write(pages, new Uint8Array(16))).toThrow('INVALID_PAGE_STATE');
  });
});

describe('PLATFORM_STATUS', () => {
  it('says what the sheet says, before INIT into any page', async () => {
    const before = await status(plain);
    expect(before).toMatchObject({
      apiMajor: 1,
      apiMinor: 55,
      build: 24,
      state: 'UNINIT',
      memory: { rmpInitialized: false, aliasCheckComplete: true, tioEnabled: false },
      guestCount: 0,
    });
    await on.start();
    await on.newGuest();
    expect(await status()).toMatchObject({ state: 'INIT', memory: { rmpInitialized: true }, guestCount: 1 });
    const raw = on.memory.read(result, 32);
    expect([raw[0], raw[1], raw[2], raw[3], raw[8], raw[12]]).toEqual([1, 55, 1, 0b11, 0b1000, 1]);
    expect([...raw.subarray(0x10, 0x18)]).toEqual([4, 0, 0, 0, 0, 0, 24, 219]);
    expect([...raw.subarray(0x18, 0x20)]).toEqual([4, 0, 0, 0, 0, 0, 24, 219]);
  });

  it('goes into a Firmware page after INIT, and into no other', async () => {
    await on.start();
    await on.newGuest();
    on.preGuest(pages, 0x1000);
    for (const address of [plain, context, pages, response + 4096 - 16]) {
      const before = on.memory.read(address, 32);
      expect(await statusInto(address)).toBe('INVALID_PAGE_STATE');
      expect(on.memory.read(address, 32)).toEqual(before);
    }
    expect(await statusInto(result + 4096 - 16), 'half into each of two').toBe('SUCCESS');
    const beyond = { statusAddress: BigInt(on.memory.size) - 16n };
    expect(await on.call('SNP_PLATFORM_STATUS', [snpPlatformStatusBuffer, beyond])).toBe('INVALID_ADDRESS');
  });
});

describe('FEATURE_INFO', () => {
  it.each([
    ['milan', 0b10],
    ['genoa', 0b11_0110],
    ['turin', 0b11_1110],
  ] as const)('of %s', async (generation, ecx) => {
    fresh({ generation });
    const ask = (ecxIn: number) =>
      on.call('SNP_FEATURE_INFO', [snpFeatureInfoBuffer, { ecxIn, resultAddress: BigInt(plain) }]);
    expect(await ask(0)).toBe('SUCCESS');
    expect([...new Uint32Array(on.memory.read(plain, 16).buffer)]).toEqual([0, 0, ecx, 0]);
    expect(on.read(snpFeatureInfo, plain).ecx.verifyMitigation).toBe(false);
    expect(await ask(1)).toBe('INVALID_PARAM');
  });
});

describe('address space ids', () => {
  beforeEach(async () => {
    expectSuccess(await on.call('SNP_INIT'));
    expectSuccess(await on.create());
    expectSuccess(await on.launchStart());
  });

  it('are dirty after INIT until the first flush', async () => {
    expect(await on.activate(1)).toBe('DF_FLUSH_REQUIRED');
    expectSuccess(await on.flush());
    expect(await on.activate(1)).toBe('SUCCESS');
  });

  it.each([
    [0, 'INVALID_ASID'],
    [1, 'SUCCESS'],
    [99, 'SUCCESS'],
    [100, 'INVALID_ASID'],
    [509, 'INVALID_ASID'],
    [0xffff_ffff, 'INVALID_ASID'],
  ] as const)('%i: %s', async (asid, expected) => {
    expectSuccess(await on.flush());
    expect(await on.activate(asid)).toBe(expected);
    expect(on.guest().asid).toBe(expected === 'SUCCESS' ? asid : undefined);
  });

  it('have one owner, and need a flush after it', async () => {
    expectSuccess(await on.flush());
    expectSuccess(await on.activate(1));
    expect(await on.activate(2)).toBe('ACTIVE');
    expectSuccess(await on.create(otherContext));
    expectSuccess(await on.launchStart(undefined, {}, otherContext));
    expect(await on.activate(1, otherContext)).toBe('ASID_OWNED');
    expectSuccess(await on.decommission());
    expect(await on.activate(1, otherContext)).toBe('DF_FLUSH_REQUIRED');
    expectSuccess(await on.flush());
    expect(await on.activate(1, otherContext)).toBe('SUCCESS');
  });

  it('do not pass on while pages of the guest before still carry them', async () => {
    expectSuccess(await on.flush());
    expectSuccess(await on.activate(1));
    expectSuccess(await on.load('NORMAL'));
    await on.remove();
    expectSuccess(await on.create());
    expectSuccess(await on.launchStart());
    expect(on.reverseMap.state(pages)).toBe('Guest-Valid');
    expect(await on.activate(1)).toBe('ASID_OWNED');
    on.rmpUpdate(pages, { assigned: false });
    expect(await on.activate(1)).toBe('SUCCESS');
  });

  it('of SEV-ES guests are owned, too, and the other way round', async () => {
    const { processor, memory } = on;
    const sev = async (name: keyof typeof sevCommands, buffer?: Uint8Array) => {
      if (buffer !== undefined) memory.write(snpPlaces.buffer, buffer);
      return statusOf(await processor.submit(sevCommands[name], snpPlaces.buffer));
    };
    const trusted = { tmrAddress: 0x10_0000n, tmrLength: 0x10_0000 };
    expectSuccess(await sev('INIT', initBuffer.build({ flags: { encryptedState: true }, ...trusted })));
    expectSuccess(await on.flush());
    const start = new Uint8Array(0x30);
    start[4] = 4;
    expectSuccess(await sev('LAUNCH_START', start));
    const activate = (asid: number) => sev('ACTIVATE', Uint8Array.of(1, 0, 0, 0, asid, 0, 0, 0));
    expectSuccess(await on.activate(5));
    expect(await activate(5)).toBe('ASID_OWNED');
    expectSuccess(await activate(6));
    expectSuccess(await on.create(otherContext));
    expectSuccess(await on.launchStart(undefined, {}, otherContext));
    expect(await on.activate(6, otherContext)).toBe('ASID_OWNED');
  });
});

describe('the commands of SEV beside SEV-SNP', () => {
  const sev = async (name: keyof typeof sevCommands, buffer: Uint8Array) => {
    on.memory.write(snpPlaces.buffer, buffer);
    return statusOf(await on.processor.submit(sevCommands[name], snpPlaces.buffer));
  };
  const exportTo = (address: number) =>
    sev(
      'PDH_CERT_EXPORT',
      pdhCertExportBuffer.build({
        pdhAddress: BigInt(address),
        pdhLength: 0x824,
        chainAddress: 0x8000n,
        chainLength: 0x186c,
      }),
    );

  beforeEach(async () => {
    await on.start();
    await on.newGuest();
    expectSuccess(await on.load('NORMAL'));
  });

  it('do not write over pages of SNP guests, nor over contexts', async () => {
    expectSuccess(await sev('INIT', initBuffer.build({ flags: { encryptedState: false } })));
    for (const address of [pages, context]) {
      const before = on.memory.read(address, 4096);
      expect(await exportTo(address)).toBe('INVALID_PAGE_STATE');
      expect(on.memory.read(address, 4096)).toEqual(before);
    }
    expect(await exportTo(plain)).toBe('SUCCESS');
    expect(await exportTo(result)).toBe('SUCCESS');
  });

  it('take neither trusted memory nor a store there', async () => {
    const trusted = { tmrAddress: BigInt(pages), tmrLength: 0x10_0000 };
    const es = { flags: { encryptedState: true }, ...trusted };
    expect(await sev('INIT', initBuffer.build(es))).toBe('INVALID_PAGE_STATE');
    const before = on.memory.read(pages, 0x8000);
    const store = { flags: { encryptedState: false }, storeAddress: BigInt(pages), storeLength: 0x8000 };
    on.memory.write(pages, new Uint8Array(0x8000).fill(0xff));
    expect(await sev('INIT_EX', initExBuffer.build(store))).toBe('INVALID_PAGE_STATE');
    expect(on.memory.read(pages, 4).every((byte) => byte === 0xff)).toBe(true);
    on.memory.write(pages, before);
    expect(on.processor.state).toBe('UNINIT');
  });
});
