import { drawVlekHashstick, machineProfiles, vlekWrapKey, wrapVlekHashstick } from '@vouchsafe/firmware';
import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  buildTcbVersion,
  concat,
  InvalidArgumentError,
  isZero,
  type PlatformChain,
  parseChainFiles,
  parseSevCertificate,
  systemRandom,
  UnavailableError,
  verdict,
  verifyPlatformChain,
  withoutSignatures,
} from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import { makePlatformOwner, signPek } from '../platform/ownership.js';
import type { Platform } from '../platform/platform.js';
import { softwareHost, startGuest } from './software-host.js';

/** What every Platform does, whatever is behind it. `make` gives one over a machine that has never been initialised. */
export function platformConformance(
  backend: Platform['backend'],
  make: (machine: HostMachine) => Platform | Promise<Platform>,
): void {
  const prepared = async (...given: Parameters<typeof softwareHost>) => {
    const host = await softwareHost(...given);
    const platform = await make(host.machine);
    const exported = async (): Promise<
      Required<Pick<PlatformChain, 'pdh' | 'pek' | 'oca' | 'exportedCek'>>
    > => {
      const { pdh, chain } = await platform.export();
      const parsed = parseChainFiles([
        { name: 'export', bytes: concat(pdh, chain) },
        { name: 'cek', bytes: host.cek },
      ]);
      return parsed as Required<typeof parsed>;
    };
    return { ...host, platform, exported };
  };
  const owned = async () => {
    const host = await prepared();
    const owner = await makePlatformOwner();
    const ownership = {
      pek: await signPek(await host.platform.signingRequest(), owner),
      oca: owner.certificate,
    };
    return { ...host, owner, ownership };
  };

  describe(`Platform over ${backend}`, () => {
    test('names its backend', async () => {
      expect((await prepared()).platform.backend).toBe(backend);
    });

    test('status and chip id need no INIT', async () => {
      const { platform, chipId } = await prepared();
      expect(await platform.chipId()).toEqual(chipId);
      expect(await platform.status()).toEqual({
        apiMajor: 1,
        apiMinor: 55,
        build: 24,
        state: 'UNINIT',
        externallyOwned: false,
        encryptedState: false,
        guestCount: 0,
      });
    });

    test('what needs INIT gets it, with SEV-ES, once', async () => {
      const { platform } = await prepared();
      const first = await platform.export();
      expect(await platform.status()).toMatchObject({
        state: 'INIT',
        encryptedState: true,
        externallyOwned: false,
      });
      expect(await platform.export()).toEqual(first);
    });

    test.each(['naples', 'milan'] as const)(
      'the export of %s leads to the root that endorsed the chip',
      async (generation) => {
        const { platform, authority, cek } = await prepared(generation);
        const { pdh, chain } = await platform.export();
        const bytes = concat(pdh, chain, authority.ask, authority.ark);
        const files = [
          { name: 'export', bytes },
          { name: 'cek', bytes: cek },
        ];
        const appraisal = await verifyPlatformChain(parseChainFiles(files), {
          roots: [authority.root],
          exportedCek: chain.slice(-cek.length),
        });
        expect(verdict(appraisal).failed).toEqual([]);
        expect(appraisal.root?.name).toMatch(/^Vouchsafe Development/);
        expect(isZero(chain.slice(-512))).toBe(true);
        expect(withoutSignatures(cek)).toEqual(chain.slice(-cek.length));
      },
    );

    test('the signing request is the PEK without signatures', async () => {
      const { platform, exported } = await prepared();
      const request = await platform.signingRequest();
      expect(request).toEqual(withoutSignatures((await exported()).pek.raw));
    });

    test('provisioned, the platform has its owner and a new PDH, and is the same chip', async () => {
      const { platform, exported, owner, ownership } = await owned();
      const before = await exported();
      await platform.provision(ownership);
      const after = await exported();
      expect((await platform.status()).externallyOwned).toBe(true);
      expect(after.oca.raw).toEqual(owner.certificate);
      expect(after.pek.signatures.map((slot) => slot.usage)).toEqual(['OCA', 'CEK']);
      expect(after.pek.publicKey).toEqual(before.pek.publicKey);
      expect(after.pdh.publicKey).not.toEqual(before.pdh.publicKey);
      expect(after.exportedCek).toEqual(before.exportedCek);
    });

    test('an owned platform is not taken over', async () => {
      const { platform, ownership } = await owned();
      await platform.provision(ownership);
      await expect(platform.provision(ownership)).rejects.toMatchObject({
        code: 'firmware-status',
        command: 'PEK_CERT_IMPORT',
        statusName: 'ALREADY_OWNED',
      });
    });

    test.each<
      [
        string,
        string,
        (given: Awaited<ReturnType<typeof owned>>) => Promise<{ pek: Uint8Array; oca: Uint8Array }>,
      ]
    >([
      [
        'a certificate of another owner',
        'BAD_SIGNATURE',
        async ({ ownership }) => ({ ...ownership, oca: (await makePlatformOwner()).certificate }),
      ],
      [
        'a PEK that nobody signed',
        'BAD_SIGNATURE',
        async ({ ownership }) => ({ ...ownership, pek: withoutSignatures(ownership.pek) }),
      ],
      [
        'a PEK of another platform',
        'INVALID_CERTIFICATE',
        async ({ owner, ownership }) => {
          const other = await prepared();
          return { ...ownership, pek: await signPek(await other.platform.signingRequest(), owner) };
        },
      ],
      [
        'a certificate that was cut',
        'INVALID_LENGTH',
        async ({ ownership }) => ({ ...ownership, pek: ownership.pek.slice(1) }),
      ],
    ])('%s is refused, and nothing changes', async (_name, statusName, make) => {
      const given = await owned();
      const before = await given.platform.export();
      await expect(given.platform.provision(await make(given))).rejects.toMatchObject({ statusName });
      expect(await given.platform.export()).toEqual(before);
      expect((await given.platform.status()).externallyOwned).toBe(false);
    });

    test('rotate makes a new PDH under the same PEK', async () => {
      const { platform, exported } = await prepared();
      const before = await exported();
      await platform.rotate();
      const after = await exported();
      expect(after.pdh.publicKey).not.toEqual(before.pdh.publicKey);
      expect([after.pek.raw, after.oca.raw]).toEqual([before.pek.raw, before.oca.raw]);
    });

    test.each(['regenerate', 'reset'] as const)(
      '%s ends external ownership and makes every key but the chip’s anew',
      async (action) => {
        const { platform, exported, ownership } = await owned();
        await platform.provision(ownership);
        const before = await exported();
        await platform[action]();
        const after = await exported();
        expect((await platform.status()).externallyOwned).toBe(false);
        for (const name of ['oca', 'pek', 'pdh'] as const)
          expect(after[name].publicKey).not.toEqual(before[name].publicKey);
        expect(after.exportedCek).toEqual(before.exportedCek);
        const { oca } = after;
        expect(parseSevCertificate(oca.raw).signatures[0].usage).toBe('OCA');
      },
    );

    test('a reset leaves the platform uninitialised', async () => {
      const { platform } = await prepared();
      await platform.export();
      await platform.reset();
      expect((await platform.status()).state).toBe('UNINIT');
      await platform.reset();
    });

    test('with a guest it can be read and its PDH renewed, and nothing else', async () => {
      const { platform, machine, ownership } = await owned();
      await startGuest(machine);
      expect(await platform.status()).toMatchObject({ state: 'WORKING', guestCount: 1 });
      await platform.export();
      await platform.rotate();
      const refused = { code: 'firmware-status', statusName: 'INVALID_PLATFORM_STATE' };
      await expect(platform.regenerate()).rejects.toMatchObject({ ...refused, command: 'PEK_GEN' });
      await expect(platform.provision(ownership)).rejects.toMatchObject(refused);
      await expect(platform.reset()).rejects.toBeInstanceOf(UnavailableError);
      await expect(platform.reset()).rejects.toThrow(/holds guests/);
      expect(await platform.status()).toMatchObject({ state: 'WORKING', guestCount: 1 });
    });

    test('callers at the same time do not disturb each other', async () => {
      const { platform, chipId } = await prepared();
      const [first] = await Promise.all([platform.export(), platform.signingRequest(), platform.export()]);
      const answers = await Promise.all(
        Array.from({ length: 8 }, () => Promise.all([platform.export(), platform.chipId()])),
      );
      for (const [certificates, id] of answers) {
        expect(certificates).toEqual(first);
        expect(id).toEqual(chipId);
      }
    });
  });

  describe(`SEV-SNP on a Platform over ${backend}`, () => {
    const { currentTcb } = machineProfiles.milan.snp!;
    const tcbBytes = (changes: Partial<typeof currentTcb> = {}) =>
      buildTcbVersion({ ...currentTcb, ...changes }, 'milan');

    /** For this chip and the TCB version that runs, unless said otherwise. */
    function hashstickFor(chip: Awaited<ReturnType<typeof softwareHost>>['chip'], tcb = currentTcb) {
      const wrapKey = vlekWrapKey(chip);
      const hashstick = drawVlekHashstick(systemRandom);
      return wrapVlekHashstick({ wrapKey, hashstick, line: 'Milan', tcb, random: systemRandom });
    }

    test('status tells the firmware, its TCB versions, and what is on', async () => {
      const { platform } = await prepared();
      await platform.snp.configure({});
      expect(await platform.snp.status()).toEqual({
        apiMajor: 1,
        apiMinor: 55,
        build: 24,
        state: 'INIT',
        guestCount: 0,
        currentTcb: tcbBytes(),
        reportedTcb: tcbBytes(),
        rmpInitialized: true,
        aliasCheckComplete: true,
        maskChipId: false,
        maskChipKey: false,
        vlekLoaded: false,
        raplDisabled: false,
        ciphertextHidingCapable: false,
        ciphertextHidingEnabled: false,
      });
      expect(await platform.snp.status()).toEqual(await platform.snp.status());
    });

    test('reports are signed for the TCB version that is set, and keep back what is masked', async () => {
      const { platform } = await prepared();
      const older = tcbBytes({ microcode: 100 });
      await platform.snp.configure({ reportedTcb: older, maskChipId: true, maskChipKey: true });
      expect(await platform.snp.status()).toMatchObject({
        currentTcb: tcbBytes(),
        reportedTcb: older,
        maskChipId: true,
        maskChipKey: true,
      });
      await platform.snp.configure({});
      expect(await platform.snp.status()).toMatchObject({
        reportedTcb: tcbBytes(),
        maskChipId: false,
        maskChipKey: false,
      });
    });

    test('a TCB version above the one that is committed is refused, and nothing changes', async () => {
      const { platform } = await prepared();
      const newer = tcbBytes({ snp: currentTcb.snp + 1 });
      await expect(platform.snp.configure({ reportedTcb: newer, maskChipId: true })).rejects.toMatchObject({
        code: 'firmware-status',
        command: 'SNP_CONFIG',
        statusName: 'INVALID_PARAM',
      });
      expect(await platform.snp.status()).toMatchObject({ reportedTcb: tcbBytes(), maskChipId: false });
    });

    test('a commit takes the reported TCB version to the one that runs', async () => {
      const { platform } = await prepared();
      await platform.snp.configure({ reportedTcb: tcbBytes({ microcode: 0 }) });
      await platform.snp.commit();
      expect(await platform.snp.status()).toMatchObject({ reportedTcb: tcbBytes() });
    });

    test('a VLEK that was wrapped for this chip is loaded, and goes with its TCB version', async () => {
      const { platform, chip } = await prepared();
      await platform.snp.loadVlek(hashstickFor(chip));
      expect(await platform.snp.status()).toMatchObject({ vlekLoaded: true });
      await platform.snp.configure({ reportedTcb: tcbBytes({ microcode: 1 }) });
      expect(await platform.snp.status()).toMatchObject({ vlekLoaded: false });
    });

    test('a VLEK of another chip, for another TCB version, or cut is refused', async () => {
      const { platform, chip } = await prepared();
      const { chip: other } = await prepared();
      const refused = (statusName: string) => ({ command: 'SNP_VLEK_LOAD', statusName });
      await expect(platform.snp.loadVlek(hashstickFor(other))).rejects.toMatchObject(
        refused('BAD_MEASUREMENT'),
      );
      const older = hashstickFor(chip, { ...currentTcb, snp: 1 });
      await expect(platform.snp.loadVlek(older)).rejects.toMatchObject(refused('INVALID_PARAM'));
      await expect(platform.snp.loadVlek(hashstickFor(chip).slice(1))).rejects.toBeInstanceOf(
        InvalidArgumentError,
      );
      expect(await platform.snp.status()).toMatchObject({ vlekLoaded: false });
    });

    test('a processor without it says so', async () => {
      const { platform } = await prepared('naples');
      for (const work of [platform.snp.status, platform.snp.commit, () => platform.snp.configure({})]) {
        await expect(work()).rejects.toBeInstanceOf(UnavailableError);
        await expect(work()).rejects.toThrow(/SNP/);
      }
    });
  });
}
