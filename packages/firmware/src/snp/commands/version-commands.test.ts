import {
  openSecret,
  snpPlatformStatus,
  snpPlatformStatusBuffer,
  snpVlekLoadBuffer,
  type TcbVersion,
} from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Chip, manufactureChip } from '../../identity/chip.js';
import { drawVlekHashstick, vlekWrapKey, wrapVlekHashstick } from '../../identity/vlek.js';
import { machineProfiles } from '../../profiles.js';
import { expectSuccess, seededRandom } from '../../testing/hypervisor.js';
import { SnpHypervisor, type SnpHypervisorOptions, snpPlaces } from '../../testing/snp-hypervisor.js';

let chip: Chip;
beforeEach(() => {
  chip = manufactureChip({ random: seededRandom('versions') });
});

const first: TcbVersion = { bootloader: 4, tee: 1, snp: 20, microcode: 200 };
const later: TcbVersion = { bootloader: 4, tee: 1, snp: 21, microcode: 210 };

/** The machine restarted with some firmware on the same chip. */
async function withFirmware(
  currentTcb: TcbVersion,
  options: SnpHypervisorOptions = {},
): Promise<SnpHypervisor> {
  const on = new SnpHypervisor({ chip, snp: { currentTcb }, ...options });
  await on.start();
  return on;
}

async function versionsOf(on: SnpHypervisor) {
  const command = { statusAddress: BigInt(snpPlaces.result) };
  expectSuccess(await on.call('SNP_PLATFORM_STATUS', [snpPlatformStatusBuffer, command]));
  const { currentTcb, reportedTcb, features } = on.read(snpPlatformStatus);
  return {
    current: currentTcb[7],
    committed: on.firmware.committed.tcb.microcode,
    reported: reportedTcb[7],
    vlek: features.vlekLoaded,
  };
}

describe('TCB versions', () => {
  it('are all that of the first firmware on a new chip', async () => {
    expect(await versionsOf(await withFirmware(first))).toEqual({
      current: 200,
      committed: 200,
      reported: 200,
      vlek: false,
    });
  });

  it('move by COMMIT alone: newer firmware runs, and is not vouched for before', async () => {
    await withFirmware(first);
    const on = await withFirmware(later);
    expect(await versionsOf(on)).toEqual({ current: 210, committed: 200, reported: 200, vlek: false });
    expect(await on.config({ tcb: later })).toBe('INVALID_PARAM');
    expectSuccess(await on.commit());
    expect(await versionsOf(on)).toEqual({ current: 210, committed: 210, reported: 210, vlek: false });
  });

  it('can go back before COMMIT, and not after it', async () => {
    await withFirmware(first);
    await withFirmware(later);
    const back = await withFirmware(first);
    expect(await versionsOf(back)).toMatchObject({ current: 200, committed: 200 });
    const on = await withFirmware(later);
    expectSuccess(await on.commit());
    const refused = new SnpHypervisor({ chip, snp: { currentTcb: first } });
    expect(await refused.call('SNP_INIT')).toBe('BAD_SVN');
    expect(await refused.call('SNP_INIT_EX', new Uint8Array(64).fill(1, 0, 1))).toBe('BAD_SVN');
    expect([refused.firmware.state, refused.processor.snp]).toEqual(['UNINIT', undefined]);
  });

  it('are compared component by component, and then the firmware’s version', async () => {
    await withFirmware(first, { profile: { build: 24 } });
    for (const name of ['bootloader', 'tee', 'snp', 'microcode'] as const) {
      const currentTcb = { bootloader: 99, tee: 99, snp: 99, microcode: 250, [name]: first[name]! - 1 };
      expect(await new SnpHypervisor({ chip, snp: { currentTcb } }).call('SNP_INIT'), name).toBe('BAD_SVN');
    }
    for (const [api, build] of [
      [{ apiMajor: 1, apiMinor: 55 }, 23],
      [{ apiMajor: 1, apiMinor: 54 }, 99],
      [{ apiMajor: 0, apiMinor: 99 }, 99],
    ] as const) {
      const older = new SnpHypervisor({ chip, snp: { currentTcb: first }, profile: { api, build } });
      expect(await older.call('SNP_INIT')).toBe('BAD_VERSION');
    }
    const newer = new SnpHypervisor({
      chip,
      snp: { currentTcb: first },
      profile: { api: { apiMajor: 1, apiMinor: 56 }, build: 0 },
    });
    expect(await newer.call('SNP_INIT')).toBe('SUCCESS');
  });

  it('of Turin have their own layout', async () => {
    const on = new SnpHypervisor({ generation: 'turin' });
    await on.start();
    const { currentTcb } = machineProfiles.turin.snp!;
    expectSuccess(await on.config({ tcb: { ...currentTcb, fmc: 0 } }));
    expect(on.firmware.session.reportedTcb).toEqual({ ...currentTcb, fmc: 0 });
    const milans = new Uint8Array(64);
    milans.set([4, 0, 0, 0, 0, 0, 24, 217]);
    expect(await on.call('SNP_CONFIG', milans)).toBe('INVALID_PARAM');
  });
});

describe('CONFIG', () => {
  it('reports any TCB version up to the committed one, and goes back to that with zero', async () => {
    const on = await withFirmware(first);
    const lower = { ...first, snp: 19 };
    expectSuccess(await on.config({ tcb: lower, maskChipId: true }));
    expect(on.firmware.session).toMatchObject({ reportedTcb: lower, maskChipId: true, maskChipKey: false });
    for (const name of ['bootloader', 'tee', 'snp', 'microcode'] as const) {
      expect(await on.config({ tcb: { ...first, [name]: first[name]! + 1 } }), name).toBe('INVALID_PARAM');
    }
    expect(on.firmware.session).toMatchObject({ reportedTcb: lower, maskChipId: true });
    expectSuccess(await on.config({}));
    expect(on.firmware.session).toMatchObject({ reportedTcb: first, maskChipId: false });
  });

  it('lasts until SHUTDOWN', async () => {
    const on = await withFirmware(first);
    expectSuccess(await on.config({ tcb: { ...first, tee: 0 }, maskChipKey: true }));
    expectSuccess(await on.call('SNP_SHUTDOWN'));
    expectSuccess(await on.call('SNP_INIT'));
    expect(on.firmware.session).toMatchObject({ reportedTcb: first, maskChipKey: false });
  });

  it('is shown by PLATFORM_STATUS', async () => {
    const on = await withFirmware(first);
    expectSuccess(await on.config({ maskChipId: true, maskChipKey: true }));
    await versionsOf(on);
    expect(on.read(snpPlatformStatus).features).toMatchObject({ maskChipId: true, maskChipKey: true });
  });
});

describe('VLEK_LOAD', () => {
  it('takes a hashstick for this chip and the reported TCB version', async () => {
    const on = await withFirmware(first);
    expectSuccess(await on.loadVlek());
    expect((await versionsOf(on)).vlek).toBe(true);
  });

  it('refuses one for another TCB version, and one for another chip', async () => {
    const on = await withFirmware(first);
    expect(await on.loadVlek({ tcb: later })).toBe('INVALID_PARAM');
    expect(await on.loadVlek({ tcb: { ...first, snp: 19 } })).toBe('INVALID_PARAM');
    const other = manufactureChip({ random: seededRandom('other') });
    expect(await on.loadVlek({ chip: other })).toBe('BAD_MEASUREMENT');
    expect((await versionsOf(on)).vlek).toBe(false);
  });

  it('keeps the one that is loaded when another is refused', async () => {
    const on = await withFirmware(first);
    expectSuccess(await on.loadVlek());
    const { vlek } = on.firmware.session;
    expect(await on.loadVlek({ tcb: later })).toBe('INVALID_PARAM');
    expect(on.firmware.session.vlek).toBe(vlek);
    expect(vlek!.hashstick.isZeroed).toBe(false);
    expectSuccess(await on.loadVlek({ hashstick: drawVlekHashstick(seededRandom('new')) }));
    expect(vlek!.hashstick.isZeroed).toBe(true);
  });

  it.each<[string, number, 'BAD_MEASUREMENT' | 'INVALID_PARAM']>([
    ['IV', 0x000, 'BAD_MEASUREMENT'],
    ['seeds', 0x010, 'BAD_MEASUREMENT'],
    ['last seed', 0x18f, 'BAD_MEASUREMENT'],
    ['TCB version', 0x197, 'INVALID_PARAM'],
    ['tag', 0x1a0, 'BAD_MEASUREMENT'],
    ['last of the tag', 0x1af, 'BAD_MEASUREMENT'],
    ['reserved bytes', 0x00c, 'INVALID_PARAM'],
    ['other reserved bytes', 0x198, 'INVALID_PARAM'],
  ])('refuses one that was changed in its %s', async (_where, offset, status) => {
    const on = await withFirmware(first);
    expectSuccess(await on.loadVlek());
    const wrapped = on.memory.read(snpPlaces.hashstick, 432);
    wrapped[offset]! ^= 1;
    on.memory.write(snpPlaces.hashstick, wrapped);
    const command = { hashstickAddress: BigInt(snpPlaces.hashstick) };
    expect(await on.call('SNP_VLEK_LOAD', [snpVlekLoadBuffer, command])).toBe(status);
    const newer = { ...command, wrappedVersion: 1 };
    expect(await on.call('SNP_VLEK_LOAD', [snpVlekLoadBuffer, newer])).toBe('INVALID_PARAM');
  });

  it('is undone by CONFIG and COMMIT that change the reported TCB version, and by SHUTDOWN', async () => {
    await withFirmware(first);
    const on = await withFirmware(later);
    expectSuccess(await on.loadVlek());
    expectSuccess(await on.config({ tcb: first, maskChipId: true }));
    expect(on.firmware.session.vlek, 'the same version').toBeDefined();
    expectSuccess(await on.commit());
    expect(on.firmware.session.vlek).toBeUndefined();
    expectSuccess(await on.loadVlek());
    expectSuccess(await on.commit());
    expect(on.firmware.session.vlek, 'nothing to commit').toBeDefined();
    expectSuccess(await on.config({ tcb: first }));
    expect(on.firmware.session.vlek).toBeUndefined();
    expectSuccess(await on.loadVlek());
    const { vlek } = on.firmware.session;
    expectSuccess(await on.call('SNP_SHUTDOWN'));
    expect(vlek!.hashstick.isZeroed).toBe(true);
  });
});

describe('a hashstick', () => {
  it('is wrapped under the key of one chip', () => {
    const other = manufactureChip({ random: seededRandom('third') });
    expect(openSecret(vlekWrapKey(chip))).not.toEqual(openSecret(vlekWrapKey(other)));
    const random = seededRandom('wrap');
    const hashstick = drawVlekHashstick(random);
    const wrapped = wrapVlekHashstick({
      wrapKey: vlekWrapKey(chip),
      hashstick,
      line: 'Milan',
      tcb: first,
      random,
    });
    expect(wrapped).toHaveLength(432);
    expect([...wrapped.subarray(0x190, 0x198)]).toEqual([4, 1, 0, 0, 0, 0, 20, 200]);
  });
});
