import { equalBytes, InvalidArgumentError, isZero, openSecret, type TcbVersion } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { machineProfiles } from '../profiles.js';
import { seededRandom } from '../testing/hypervisor.js';
import { chipEndorsementRequest, manufactureChip } from './chip.js';
import { commitFirmware, committedFirmware } from './committed-firmware.js';
import { snpChipId, vcekEndorsementRequest, vcekKey, vcekSeed } from './vcek.js';
import {
  drawVlekHashstick,
  unwrapVlekHashstick,
  vlekEndorsementRequest,
  vlekKey,
  vlekSeed,
  vlekWrapKey,
  wrapVlekHashstick,
} from './vlek.js';

const chipOf = (generation: 'milan' | 'genoa' | 'turin' | 'rome' | 'naples', seed: string = generation) =>
  manufactureChip({ random: seededRandom(seed), generation });
const tcb: TcbVersion = { bootloader: 4, tee: 0, snp: 24, microcode: 219 };
const lower: TcbVersion = { ...tcb, microcode: 218 };

describe('a VCEK', () => {
  it('is of one chip and one TCB version, and the same each time', () => {
    const [a, b] = [chipOf('milan'), chipOf('milan', 'another')];
    const keys = [vcekKey(a, tcb), vcekKey(a, lower), vcekKey(b, tcb)];
    expect(new Set(keys.map(({ publicKey }) => publicKey.x.join())).size).toBe(3);
    expect(vcekKey(a, { ...tcb }).publicKey).toEqual(keys[0]!.publicKey);
    const seeds = [vcekSeed(a, tcb), vcekSeed(a, lower), vcekSeed(b, tcb)].map((seed) =>
      openSecret(seed).join(),
    );
    expect(new Set(seeds).size).toBe(3);
  });

  it.each(['milan', 'genoa', 'turin'] as const)('of %s is asked for by its chip id', (generation) => {
    const chip = chipOf(generation);
    const { line, currentTcb } = machineProfiles[generation].snp!;
    const request = vcekEndorsementRequest(chip, currentTcb);
    expect(request).toMatchObject({ line, tcb: currentTcb, publicKey: vcekKey(chip, currentTcb).publicKey });
    const { chipId } = chipEndorsementRequest(chip);
    const significant = generation === 'turin' ? 8 : 64;
    expect(request.chipId.subarray(0, significant)).toEqual(chipId.subarray(0, significant));
    expect([request.chipId.length, isZero(request.chipId.subarray(significant))]).toEqual([64, true]);
    expect(snpChipId(chip)).toEqual(request.chipId);
  });

  it('is not to be had of a processor without SEV-SNP, or for a TCB version of another', () => {
    for (const generation of ['naples', 'rome'] as const)
      expect(() => vcekEndorsementRequest(chipOf(generation), tcb)).toThrow(InvalidArgumentError);
    expect(() => vcekKey(chipOf('turin'), tcb)).toThrow(InvalidArgumentError);
    expect(() => vcekKey(chipOf('milan'), { ...tcb, fmc: 1 })).toThrow(InvalidArgumentError);
  });
});

describe('a VLEK', () => {
  const random = seededRandom('vlek');
  const hashstick = drawVlekHashstick(random);

  it('is of one operator, one product line and one TCB version', () => {
    const others = [
      vlekKey(hashstick, 'Milan', lower),
      vlekKey(drawVlekHashstick(random), 'Milan', tcb),
      vlekKey(hashstick, 'Milan', tcb),
    ];
    expect(new Set(others.map(({ publicKey }) => publicKey.x.join())).size).toBe(3);
    expect(vlekEndorsementRequest(hashstick, 'Milan', tcb)).toEqual({
      line: 'Milan',
      tcb,
      publicKey: others[2]!.publicKey,
    });
    const seed = openSecret(vlekSeed(hashstick, 'Milan', tcb));
    expect(equalBytes(seed, openSecret(vlekSeed(hashstick, 'Milan', lower)))).toBe(false);
  });

  it('comes out of its wrapping on its chip alone', () => {
    const chip = chipOf('milan');
    const wrapped = wrapVlekHashstick({ wrapKey: vlekWrapKey(chip), hashstick, line: 'Milan', tcb, random });
    const parts = {
      iv: wrapped.slice(0, 12),
      wrapped: wrapped.slice(0x10, 0x190),
      tcbVersion: wrapped.slice(0x190, 0x198),
      tag: wrapped.slice(0x1a0),
    };
    const opened = unwrapVlekHashstick(vlekWrapKey(chip), parts)!;
    expect(openSecret(opened)).toEqual(openSecret(hashstick));
    expect(unwrapVlekHashstick(vlekWrapKey(chipOf('genoa')), parts)).toBeUndefined();
    const raised = parts.tcbVersion.slice();
    raised[7]! += 1;
    expect(unwrapVlekHashstick(vlekWrapKey(chip), { ...parts, tcbVersion: raised })).toBeUndefined();
    const short = vlekWrapKey(chip);
    expect(() => wrapVlekHashstick({ wrapKey: short, hashstick: short, line: 'Milan', tcb, random })).toThrow(
      InvalidArgumentError,
    );
  });
});

describe('what a chip has committed', () => {
  it('is nothing when it is new, and then what was committed last', async () => {
    const chip = chipOf('milan');
    expect(committedFirmware(chip)).toBeUndefined();
    const committed = {
      tcb: Uint8Array.of(4, 0, 0, 0, 0, 0, 24, 219),
      version: { major: 1, minor: 55, build: 24 },
    };
    await commitFirmware(chip, committed);
    expect(committedFirmware(chip)).toEqual(committed);
    expect([...chip.committed.read()]).toEqual([4, 0, 0, 0, 0, 0, 24, 219, 24, 55, 1, 0, 0, 0, 0, 0]);
  });
});
