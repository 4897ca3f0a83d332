import {
  equalBytes,
  fromHex,
  getIdBuffer,
  InvalidArgumentError,
  initBuffer,
  initExBuffer,
  isSignedBy,
  parseSevCertificate,
  pdhCertExportBuffer,
  pekCsrBuffer,
  persistentStoreSize,
  platformStatus,
  sevCommands,
  toHex,
} from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import {
  type Chip,
  chipEndorsementRequest,
  createFlash,
  erasedStore,
  manufactureChip,
} from '../../identity/chip.js';
import {
  expectSuccess,
  places,
  seededRandom,
  statusOf,
  TestHypervisor,
  testMachine,
} from '../../testing/hypervisor.js';

const random = seededRandom('platform');
const oneMiB = 0x10_0000;
const newChip = () => manufactureChip({ random });

function hypervisorOn(chip: Chip) {
  return new TestHypervisor(testMachine({ chip, random }).host);
}

async function initEx(
  hypervisor: TestHypervisor,
  values: Partial<Parameters<typeof initExBuffer.build>[0]> = {},
) {
  return hypervisor.call('INIT_EX', [
    initExBuffer,
    {
      flags: { encryptedState: false },
      storeAddress: BigInt(places.store),
      storeLength: persistentStoreSize,
      ...values,
    },
  ]);
}

describe('PLATFORM_STATUS', () => {
  async function statusBytes(hypervisor: TestHypervisor) {
    expect(statusOf(await hypervisor.host.submit(sevCommands.PLATFORM_STATUS, places.buffer))).toBe(
      'SUCCESS',
    );
    return toHex(await hypervisor.host.memory.read(places.buffer, platformStatus.size));
  }

  it('tells version, state, owner, ES, build and guests, byte by byte', async () => {
    const hypervisor = hypervisorOn(newChip());
    expect(await statusBytes(hypervisor)).toBe('013700000000001800000000');
    await hypervisor.start('sev-es');
    expect(await statusBytes(hypervisor)).toBe('013701000100001800000000');
    await hypervisor.newGuest(0);
    await hypervisor.newGuest(0);
    expect(await statusBytes(hypervisor)).toBe('013702000100001802000000');
    expect(await hypervisor.call('SHUTDOWN')).toBe('SUCCESS');
    expect(await statusBytes(hypervisor)).toBe('013700000000001800000000');
  });

  it('is that of the generation, or of the given profile', async () => {
    const naples = new TestHypervisor(
      testMachine({ chip: manufactureChip({ random, generation: 'naples' }) }).host,
    );
    expect(await naples.status()).toMatchObject({ apiMajor: 0, apiMinor: 17 });
    expect(naples.host.capabilities).toMatchObject({ maximumAsid: 15, cBitPosition: 47 });
    const given = new TestHypervisor(
      testMachine({ profile: { api: { apiMajor: 0, apiMinor: 16 }, build: 9 } }).host,
    );
    expect(await given.status()).toMatchObject({ apiMajor: 0, apiMinor: 16, config: { build: 9 } });
  });
});

describe('INIT', () => {
  const init = (hypervisor: TestHypervisor, values: Partial<Parameters<typeof initBuffer.build>[0]>) =>
    hypervisor.call('INIT', [initBuffer, { flags: { encryptedState: true }, ...values }]);

  it('refuses flags that it does not know', async () => {
    const hypervisor = hypervisorOn(newChip());
    for (const bit of [1, 15, 16, 31]) {
      const buffer = initBuffer.build({ flags: { encryptedState: false } });
      buffer[bit >> 3]! |= 1 << (bit & 7);
      await hypervisor.host.memory.write(places.buffer, buffer);
      expect(statusOf(await hypervisor.host.submit(sevCommands.INIT, places.buffer))).toBe('INVALID_CONFIG');
    }
  });

  it('wants a trusted memory region for SEV-ES, of 1 MiB, aligned, in memory', async () => {
    const hypervisor = hypervisorOn(newChip());
    const at = (tmrAddress: bigint, tmrLength = oneMiB) => init(hypervisor, { tmrAddress, tmrLength });
    expect(await at(0x10_1000n)).toBe('INVALID_ADDRESS');
    expect(await at(0x10_0000n, 0)).toBe('INVALID_LENGTH');
    expect(await at(0x10_0000n, 2 * oneMiB)).toBe('INVALID_LENGTH');
    expect(await at(0x80_0000n)).toBe('INVALID_ADDRESS');
    expect(await at(0xffff_ffff_fff0_0000n)).toBe('INVALID_ADDRESS');
    expect((await hypervisor.status()).state).toBe('UNINIT');
    expect(await at(0x10_0000n)).toBe('SUCCESS');
  });

  it('takes the trusted memory region from the host until SHUTDOWN', async () => {
    const hypervisor = hypervisorOn(newChip());
    const { memory } = hypervisor.host;
    await memory.write(places.trusted, Uint8Array.of(1));
    await hypervisor.start('sev-es');
    for (const address of [places.trusted - 1, places.trusted, places.trusted + oneMiB - 2]) {
      await expect(memory.read(address, 2)).rejects.toThrow(InvalidArgumentError);
      await expect(memory.write(address, new Uint8Array(2))).rejects.toThrow(InvalidArgumentError);
    }
    await memory.read(places.trusted - 2, 2);
    await memory.write(places.trusted + oneMiB, Uint8Array.of(1));
    expect(await hypervisor.call('SHUTDOWN')).toBe('SUCCESS');
    expect(await memory.read(places.trusted, 1)).toEqual(Uint8Array.of(0));
  });

  it('makes OCA, PEK and PDH that sign each other, OCA in the PEK’s first slot and CEK in its second', async () => {
    const chip = newChip();
    const hypervisor = hypervisorOn(chip);
    await hypervisor.start();
    const raw = await hypervisor.exportCertificates();
    const [pdh, pek, oca, cek] = [raw.pdh, raw.pek, raw.oca, raw.cek].map((bytes) =>
      parseSevCertificate(bytes),
    );
    expect([pdh!.usage, pek!.usage, oca!.usage, cek!.usage]).toEqual(['PDH', 'PEK', 'OCA', 'CEK']);
    expect(await isSignedBy(pdh!, pek!)).toBe(true);
    expect(await isSignedBy(pek!, oca!)).toBe(true);
    expect(await isSignedBy(pek!, cek!)).toBe(true);
    expect(await isSignedBy(oca!, oca!)).toBe(true);
    expect(pek!.signatures.map((slot) => slot.usage)).toEqual(['OCA', 'CEK']);
    expect(cek!.signatures.map((slot) => slot.kind)).toEqual(['empty', 'empty']);
    expect([pdh!.algorithm, pek!.algorithm]).toEqual(['ECDH-SHA256', 'ECDSA-SHA256']);
    expect([pek!.apiMajor, pek!.apiMinor, cek!.apiMinor]).toEqual([1, 55, 14]);
    expect(raw.cek).toEqual(chipEndorsementRequest(chip).unsignedCek);
  });

  it('finds the keys again after SHUTDOWN, and makes none anew', async () => {
    const hypervisor = hypervisorOn(newChip());
    await hypervisor.start();
    const before = await hypervisor.exportCertificates();
    await hypervisor.call('SHUTDOWN');
    await hypervisor.start();
    expect(await hypervisor.exportCertificates()).toEqual(before);
  });

  it('erases a damaged flash, says so, and makes a new identity the next time', async () => {
    const chip = newChip();
    const hypervisor = hypervisorOn(chip);
    await hypervisor.start();
    const before = await hypervisor.exportCertificates();
    const stored = chip.flash.read();
    for (const at of [0, 0x10, 0x20, 0x40, 0x1a3f, 0x1a40, persistentStoreSize - 1]) {
      const damaged = stored.slice();
      damaged[at]! ^= 4;
      const other = { ...chip, flash: createFlash(damaged) };
      const again = hypervisorOn(other);
      expect(await again.init()).toBe('SECURE_DATA_INVALID');
      expect((await again.status()).state).toBe('UNINIT');
      expect(other.flash.read()).toEqual(erasedStore());
      await again.start();
      expect((await again.exportCertificates()).pek).not.toEqual(before.pek);
    }
  });
});

describe('new keys', () => {
  it('PDH_GEN makes a PDH, PEK_GEN all three, PLATFORM_RESET all three at the next INIT; the CEK stays', async () => {
    const hypervisor = hypervisorOn(newChip());
    await hypervisor.start();
    const changed = async (before: Awaited<ReturnType<TestHypervisor['exportCertificates']>>) => {
      const after = await hypervisor.exportCertificates();
      return (['oca', 'pek', 'pdh', 'cek'] as const).filter((name) => !equalBytes(after[name], before[name]));
    };
    const first = await hypervisor.exportCertificates();
    expect(await hypervisor.call('PDH_GEN')).toBe('SUCCESS');
    expect(await changed(first)).toEqual(['pdh']);
    const second = await hypervisor.exportCertificates();
    expect(await hypervisor.call('PEK_GEN')).toBe('SUCCESS');
    expect(await changed(second)).toEqual(['oca', 'pek', 'pdh']);
    const third = await hypervisor.exportCertificates();
    await hypervisor.call('SHUTDOWN');
    expect(await hypervisor.call('PLATFORM_RESET')).toBe('SUCCESS');
    await hypervisor.start();
    expect(await changed(third)).toEqual(['oca', 'pek', 'pdh']);
  });

  it('come from the given random source', async () => {
    const chains = await Promise.all(
      [1, 2].map(async () => {
        const same = seededRandom('the same');
        const hypervisor = new TestHypervisor(testMachine({ random: same }).host);
        await hypervisor.start();
        const { pdh, pek, oca } = await hypervisor.exportCertificates();
        return [pdh, pek, oca].map((bytes) => toHex(parseSevCertificate(bytes).raw.slice(0, 0x414)));
      }),
    );
    expect(chains[0]).toEqual(chains[1]);
  });
});

describe('outputs', () => {
  it('PDH_CERT_EXPORT with too little room fills in both lengths and writes nothing else', async () => {
    const hypervisor = hypervisorOn(newChip());
    await hypervisor.start();
    for (const [pdhLength, chainLength] of [
      [0x823, 0x186c],
      [0x824, 0x186b],
      [0, 0],
    ] as const) {
      const command = {
        pdhAddress: BigInt(places.certificate),
        pdhLength,
        chainAddress: BigInt(places.chain),
        chainLength,
      };
      expect(await hypervisor.call('PDH_CERT_EXPORT', [pdhCertExportBuffer, command])).toBe('INVALID_LENGTH');
      expect(await hypervisor.answer(pdhCertExportBuffer)).toMatchObject({
        pdhLength: 0x824,
        chainLength: 0x186c,
      });
      expect(await hypervisor.host.memory.read(places.certificate, 4)).toEqual(new Uint8Array(4));
    }
    const outside = {
      pdhAddress: BigInt(places.certificate),
      pdhLength: 0x824,
      chainAddress: 0x7f_f000n,
      chainLength: 0x186c,
    };
    expect(await hypervisor.call('PDH_CERT_EXPORT', [pdhCertExportBuffer, outside])).toBe('INVALID_ADDRESS');
    expect(await hypervisor.host.memory.read(places.certificate, 4)).toEqual(new Uint8Array(4));
  });

  it('GET_ID and PEK_CSR with too little room fill in the length', async () => {
    const hypervisor = hypervisorOn(newChip());
    await hypervisor.start();
    const address = BigInt(places.answer);
    expect(await hypervisor.call('GET_ID', [getIdBuffer, { address, length: 63 }])).toBe('INVALID_LENGTH');
    expect((await hypervisor.answer(getIdBuffer)).length).toBe(64);
    expect(await hypervisor.call('PEK_CSR', [pekCsrBuffer, { address, length: 0x823 }])).toBe(
      'INVALID_LENGTH',
    );
    expect((await hypervisor.answer(pekCsrBuffer)).length).toBe(0x824);
    expect(await hypervisor.host.memory.read(places.answer, 4)).toEqual(new Uint8Array(4));
  });

  it('GET_ID gives the chip’s id, also with room for two sockets', async () => {
    const chip = newChip();
    const hypervisor = hypervisorOn(chip);
    for (const length of [64, 128]) {
      expectSuccess(
        await hypervisor.call('GET_ID', [getIdBuffer, { address: BigInt(places.answer), length }]),
      );
      expect(await hypervisor.host.memory.read(places.answer, 64)).toEqual(
        chipEndorsementRequest(chip).chipId,
      );
    }
  });

  it('PEK_CSR gives the PEK without signatures', async () => {
    const hypervisor = hypervisorOn(newChip());
    await hypervisor.start();
    const { pek } = await hypervisor.exportCertificates();
    const command = { address: BigInt(places.answer), length: 0x824 };
    expectSuccess(await hypervisor.call('PEK_CSR', [pekCsrBuffer, command]));
    const request = parseSevCertificate(await hypervisor.host.memory.read(places.answer, 0x824));
    expect(request.raw.slice(0, 0x414)).toEqual(pek.slice(0, 0x414));
    expect(request.signatures.map((slot) => slot.kind)).toEqual(['empty', 'empty']);
  });
});

describe('INIT_EX', () => {
  const erased = (hypervisor: TestHypervisor) => hypervisor.host.memory.write(places.store, erasedStore());
  const readStore = (hypervisor: TestHypervisor) =>
    hypervisor.host.memory.read(places.store, persistentStoreSize);

  it('keeps the store in host memory, where the host can keep it and not read it', async () => {
    const chip = newChip();
    const hypervisor = hypervisorOn(chip);
    await erased(hypervisor);
    expect(await initEx(hypervisor)).toBe('SUCCESS');
    const certificates = await hypervisor.exportCertificates();
    const store = await readStore(hypervisor);
    expect(chip.flash.read()).toEqual(erasedStore());
    expect(toHex(store)).not.toContain(toHex(certificates.pek.slice(0x14, 0x44)));

    const again = hypervisorOn(chip);
    await again.host.memory.write(places.store, store);
    expect(await initEx(again)).toBe('SUCCESS');
    expect(await again.exportCertificates()).toEqual(certificates);
  });

  it('writes changes back, and PLATFORM_RESET erases the store in memory', async () => {
    const hypervisor = hypervisorOn(newChip());
    await erased(hypervisor);
    expect(await initEx(hypervisor)).toBe('SUCCESS');
    const before = await readStore(hypervisor);
    expect(await hypervisor.call('PDH_GEN')).toBe('SUCCESS');
    expect(await readStore(hypervisor)).not.toEqual(before);
    await hypervisor.call('SHUTDOWN');
    expect(await hypervisor.call('PLATFORM_RESET')).toBe('SUCCESS');
    expect(await readStore(hypervisor)).toEqual(erasedStore());
  });

  it('erases a damaged store, and that of another chip', async () => {
    const hypervisor = hypervisorOn(newChip());
    await erased(hypervisor);
    expect(await initEx(hypervisor)).toBe('SUCCESS');
    const store = await readStore(hypervisor);
    const stranger = hypervisorOn(newChip());
    await stranger.host.memory.write(places.store, store);
    expect(await initEx(stranger)).toBe('SECURE_DATA_INVALID');
    expect(await readStore(stranger)).toEqual(erasedStore());
    await stranger.host.memory.write(places.store, new Uint8Array(persistentStoreSize));
    expect(await initEx(stranger)).toBe('SECURE_DATA_INVALID');
    expect(await initEx(stranger)).toBe('SUCCESS');
  });

  it('accepts an older store of the same chip: the host can roll the platform’s keys back (limit)', async () => {
    const hypervisor = hypervisorOn(newChip());
    await erased(hypervisor);
    expect(await initEx(hypervisor)).toBe('SUCCESS');
    const [old, before] = [await readStore(hypervisor), await hypervisor.exportCertificates()];
    expect(await hypervisor.call('PEK_GEN')).toBe('SUCCESS');
    await hypervisor.call('SHUTDOWN');
    await hypervisor.host.memory.write(places.store, old);
    expect(await initEx(hypervisor)).toBe('SUCCESS');
    expect(await hypervisor.exportCertificates()).toEqual(before);
  });

  it('uses the flash where no store is given', async () => {
    const chip = newChip();
    const hypervisor = hypervisorOn(chip);
    expect(await initEx(hypervisor, { storeAddress: 0n, storeLength: 0 })).toBe('SUCCESS');
    expect(chip.flash.read()).not.toEqual(erasedStore());
  });

  it('refuses wrong lengths and places', async () => {
    const hypervisor = hypervisorOn(newChip());
    const trusted = {
      flags: { encryptedState: true },
      tmrAddress: BigInt(places.trusted),
      tmrLength: oneMiB,
    };
    expect(await initEx(hypervisor, { length: 0x23 })).toBe('INVALID_LENGTH');
    expect(await initEx(hypervisor, { storeAddress: BigInt(places.store + 16) })).toBe('INVALID_ADDRESS');
    expect(await initEx(hypervisor, { storeLength: 0x7fff })).toBe('INVALID_LENGTH');
    expect(await initEx(hypervisor, { storeAddress: 0x7f_f000n })).toBe('INVALID_ADDRESS');
    expect(await initEx(hypervisor, { ...trusted, tmrLength: 5 })).toBe('INVALID_LENGTH');
    expect(await initEx(hypervisor, { ...trusted, storeAddress: BigInt(places.trusted + 4096) })).toBe(
      'INVALID_ADDRESS',
    );
    await hypervisor.host.memory.write(places.buffer, fromHex(`24000000${'02000000'}${'00'.repeat(28)}`));
    expect(statusOf(await hypervisor.host.submit(sevCommands.INIT_EX, places.buffer))).toBe('INVALID_CONFIG');
    expect((await hypervisor.status()).state).toBe('UNINIT');
  });
});
