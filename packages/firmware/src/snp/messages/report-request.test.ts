import {
  type Generation,
  isZero,
  parseSnpReport,
  type ReportExpectations,
  reportRequest,
  type TcbVersion,
} from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { drawVlekHashstick } from '../../identity/vlek.js';
import { machineProfiles } from '../../profiles.js';
import { expectSuccess, seededRandom } from '../../testing/hypervisor.js';
import { reportIn, snpTestAuthority, underAmdsRoots, verifiedBy } from '../../testing/snp-authority.js';
import { plainPolicy, SnpHypervisor, snpPlaces } from '../../testing/snp-hypervisor.js';

const reportData = seededRandom('report data')(64);
const hostData = new Uint8Array(32).fill(0x68);
const request = (fields: Partial<Parameters<typeof reportRequest.build>[0]> = {}) =>
  reportRequest.build({ reportData, vmpl: 0, ...fields });

async function reportOf(on: SnpHypervisor, fields: Parameters<typeof request>[0] = {}, vmpck = 0) {
  return reportIn(await on.exchange('REPORT_REQ', request(fields), { vmpck }));
}

const lowered = ({ microcode, ...tcb }: TcbVersion): TcbVersion => ({ ...tcb, microcode: microcode - 1 });

describe.each(['milan', 'genoa', 'turin'] as const)('reports of %s', (generation: Generation) => {
  it.each([2, 3, 5] as const)(
    'of version %i verify as AMD’s do, under the root of their maker',
    async (version) => {
      const { line } = machineProfiles[generation].snp!;
      const authority = await snpTestAuthority(generation);
      const on = new SnpHypervisor({ generation, snp: { reportVersion: version } });
      await on.start();
      await on.runningGuest({ finish: { hostData } });
      const { status, report } = await reportOf(on);
      expect(status).toBe(0);
      const vek = await authority.vcek(on.chip, on.firmware.currentTcb);
      const expectations: ReportExpectations = {
        reportData,
        hostData,
        measurements: [on.launch().digest],
        vmpl: 0,
        signingKey: 'VCEK',
        productLines: [line],
        minimumReportVersion: version,
        chipIds: [parseSnpReport(report, { line }).chipId],
        requireChipId: true,
        minimumTcb: { reported: on.firmware.currentTcb, launch: on.firmware.currentTcb },
      };
      const own = await verifiedBy(authority, { report, vek }, { expectations });
      expect(own).toEqual({
        word: 'accepted',
        failed: [],
        root: expect.objectContaining({ name: `Vouchsafe Development, ${line}`, kind: 'development' }),
      });

      const amd = await verifiedBy(authority, { report, vek }, { expectations, ...underAmdsRoots });
      expect(amd.word).toBe('refused');
      expect(amd.failed).toEqual(['endorsement.ark.root']);
      expect(amd.root).toBeUndefined();

      const forged = report.slice();
      forged[0x90]! ^= 1;
      const changed = await verifiedBy(authority, { report: forged, vek });
      expect(changed.failed).toContain('report.signature');
    },
  );

  it('have what the sheet says, where it says it', async () => {
    const { snp } = machineProfiles[generation];
    const on = new SnpHypervisor({ generation, snp: { reportVersion: 5, mitigationVector: 0x2dn } });
    await on.start();
    await on.newGuest({ policy: plainPolicy });
    expectSuccess(await on.load('NORMAL', { contents: new Uint8Array(4096).fill(1) }));
    expectSuccess(await on.finish({ hostData }));
    const { report } = await reportOf(on, { vmpl: 3 });
    const view = new DataView(report.buffer, report.byteOffset);
    const word = (at: number) => view.getUint32(at, true);
    const bytes = (at: number, length: number) => report.slice(at, at + length);
    expect(report).toHaveLength(0x4a0);
    expect([word(0), word(4), word(0x30), word(0x34), word(0x48)]).toEqual([5, 0, 3, 1, 0]);
    expect(view.getBigUint64(8, true)).toBe(plainPolicy);
    expect(bytes(0x50, 64)).toEqual(reportData);
    expect(bytes(0x90, 48)).toEqual(on.launch().digest);
    expect(isZero(on.launch().digest)).toBe(false);
    expect(bytes(0xc0, 32)).toEqual(hostData);
    expect(isZero(bytes(0xe0, 96))).toBe(true);
    expect(bytes(0x140, 32)).toEqual(on.launch().reportId);
    expect(bytes(0x160, 32)).toEqual(new Uint8Array(32).fill(0xff));
    const { family, model, stepping } = snp!.processor;
    expect([...bytes(0x188, 3)]).toEqual([family, model, stepping]);
    const chipId = bytes(0x1a0, 64);
    expect(isZero(chipId.subarray(8))).toBe(generation === 'turin');
    expect(isZero(chipId.subarray(0, 8))).toBe(false);
    const { fmc, bootloader, tee, snp: snpSvn, microcode } = snp!.currentTcb;
    const tcb =
      generation === 'turin'
        ? [fmc, bootloader, tee, snpSvn, 0, 0, 0, microcode]
        : [bootloader, tee, 0, 0, 0, 0, snpSvn, microcode];
    for (const at of [0x38, 0x180, 0x1e0, 0x1f0]) expect([...bytes(at, 8)]).toEqual(tcb);
    const { api, build } = machineProfiles[generation];
    expect([...bytes(0x1e8, 3)]).toEqual([build, api.apiMinor, api.apiMajor]);
    expect([...bytes(0x1ec, 3)]).toEqual([build, api.apiMinor, api.apiMajor]);
    expect(view.getBigUint64(0x1f8, true)).toBe(0x2dn);
    expect(view.getBigUint64(0x200, true)).toBe(0x2dn);
    expect(isZero(bytes(0x208, 0x98))).toBe(true);
  });
});

describe('a report', () => {
  let on: SnpHypervisor;
  beforeEach(async () => {
    on = new SnpHypervisor();
    await on.start();
    await on.runningGuest();
  });

  it('is for the VMPL that was asked for, from the one of the key down', async () => {
    for (const [vmpck, vmpl, status] of [
      [0, 0, 0],
      [0, 3, 0],
      [2, 2, 0],
      [2, 3, 0],
      [1, 0, 0x16],
      [3, 2, 0x16],
      [0, 4, 0x16],
      [0, 0xffff_ffff, 0x16],
    ] as const) {
      const answer = await reportOf(on, { vmpl }, vmpck);
      expect(answer.status, `VMPCK${vmpck}, VMPL ${vmpl}`).toBe(status);
      if (status === 0) expect(parseSnpReport(answer.report).vmpl).toBe(vmpl);
      else expect(isZero(answer.report)).toBe(true);
    }
  });

  it('is refused inside the message for reserved bits and reserved keys; the exchange still counts', async () => {
    const before = on.launch().messageCounts[0]!;
    for (const at of [0x44, 0x47, 0x48, 0x5f]) {
      const changed = request();
      changed[at]! |= at === 0x44 ? 0x04 : 0x80;
      expect(reportIn(await on.exchange('REPORT_REQ', changed)).status).toBe(0x16);
    }
    expect((await reportOf(on, { flags: { keySelection: 3 } })).status).toBe(0x16);
    expect(on.launch().messageCounts[0]).toBe(before + 10n);
  });

  it('of one guest has the same id each time, and another guest has another', async () => {
    const [a, b] = [await reportOf(on), await reportOf(on, { vmpl: 1 })];
    const other = { context: snpPlaces.otherContext };
    await on.runningGuest({ ...other, asid: 2 });
    const c = reportIn(await on.exchange('REPORT_REQ', request(), other));
    const [idA, idB, idC] = [a, b, c].map(({ report }) => parseSnpReport(report).reportId);
    expect(idB).toEqual(idA);
    expect(idC).not.toEqual(idA);
  });

  it('without VLEK cannot be signed by one, and without VCEK not by the chip', async () => {
    expect((await reportOf(on, { flags: { keySelection: 2 } })).status).toBe(0x27);
    expect((await reportOf(on, { flags: { keySelection: 1 } })).status).toBe(0);
    const other = { context: snpPlaces.otherContext };
    await on.runningGuest({ ...other, asid: 2, finish: { vcekDisabled: true } });
    for (const keySelection of [0, 1, 2]) {
      const payload = await on.exchange('REPORT_REQ', request({ flags: { keySelection } }), other);
      expect(reportIn(payload).status).toBe(0x27);
    }
    expectSuccess(await on.loadVlek());
    const signed = await on.exchange('REPORT_REQ', request(), other);
    expect(parseSnpReport(reportIn(signed).report).signerInfo.signingKey).toBe('VLEK');
    const chips = await on.exchange('REPORT_REQ', request({ flags: { keySelection: 1 } }), other);
    expect(reportIn(chips).status).toBe(0x27);
  });

  it('does not name a chip that is masked, and still verifies', async () => {
    const authority = await snpTestAuthority('milan');
    expectSuccess(await on.config({ maskChipId: true }));
    const { report } = await reportOf(on);
    expect(isZero(parseSnpReport(report).chipId)).toBe(true);
    const vek = await authority.vcek(on.chip, on.firmware.currentTcb);
    expect((await verifiedBy(authority, { report, vek })).word).toBe('authentic');
    const named = await verifiedBy(authority, { report, vek }, { expectations: { requireChipId: true } });
    expect(named.failed).toEqual(['report.chip-id']);
  });

  it('is signed by nobody while the chip’s key is masked, unless a VLEK is loaded', async () => {
    const authority = await snpTestAuthority('milan');
    const vek = await authority.vcek(on.chip, on.firmware.currentTcb);
    expectSuccess(await on.config({ maskChipKey: true }));
    const { status, report } = await reportOf(on);
    expect([status, parseSnpReport(report).signerInfo]).toEqual([
      0,
      { authorKeyEnabled: false, maskChipKey: true, signingKey: 'none' },
    ]);
    expect(isZero(report.subarray(0x2a0))).toBe(true);
    expect((await verifiedBy(authority, { report, vek })).word).toBe('refused');
    expectSuccess(await on.loadVlek());
    expect(parseSnpReport((await reportOf(on)).report).signerInfo.signingKey).toBe('VLEK');
  });
});

describe('the keys that sign', () => {
  it('are made once for a TCB version, and wiped when it changes or the platform ends', async () => {
    const on = new SnpHypervisor();
    await on.start();
    const first = on.firmware.vcek;
    expect(on.firmware.vcek).toBe(first);
    expectSuccess(await on.config({ tcb: lowered(on.firmware.currentTcb) }));
    const second = on.firmware.vcek;
    expect(second.publicKey).not.toEqual(first.publicKey);
    expectSuccess(await on.loadVlek());
    const vlek = on.firmware.session.vlek!.key;
    expectSuccess(await on.call('SNP_SHUTDOWN'));
    expect([first, second, vlek].map(({ scalar }) => scalar.isZeroed)).toEqual([true, true, true]);
  });
});

describe('TCB versions', () => {
  it('the VCEK is that of the reported one, and another one does not verify', async () => {
    const authority = await snpTestAuthority('genoa');
    const on = new SnpHypervisor({ generation: 'genoa' });
    await on.start();
    await on.runningGuest();
    const { currentTcb } = on.firmware;
    const reported = lowered(currentTcb);
    expectSuccess(await on.config({ tcb: reported }));
    const { report } = await reportOf(on);
    const parsed = parseSnpReport(report);
    expect([parsed.reportedTcb, parsed.currentTcb, parsed.launchTcb]).toEqual([
      reported,
      currentTcb,
      currentTcb,
    ]);
    const vek = await authority.vcek(on.chip, reported);
    expect((await verifiedBy(authority, { report, vek })).word).toBe('authentic');
    const higher = await authority.vcek(on.chip, currentTcb);
    const wrong = await verifiedBy(authority, { report, vek: higher });
    expect(wrong.failed).toEqual(expect.arrayContaining(['report.signature']));
    const floor = { expectations: { minimumTcb: { reported: currentTcb } } };
    expect((await verifiedBy(authority, { report, vek }, floor)).failed).toEqual(['tcb.reported']);
  });

  it('of a launch stay those of its firmware; provisional firmware is told from committed', async () => {
    const authority = await snpTestAuthority('milan');
    const first = new SnpHypervisor();
    await first.start();
    const old = first.firmware.currentTcb;
    const newer = { ...old, snp: old.snp + 1 };
    const on = new SnpHypervisor({ chip: first.chip, snp: { currentTcb: newer }, profile: { build: 30 } });
    await on.start();
    await on.runningGuest();
    const before = parseSnpReport((await reportOf(on)).report);
    expect(before).toMatchObject({
      currentTcb: newer,
      launchTcb: newer,
      committedTcb: old,
      reportedTcb: old,
      currentVersion: { build: 30 },
      committedVersion: { build: 24 },
    });
    const provisional = { report: before.raw, vek: await authority.vcek(on.chip, old) };
    expect((await verifiedBy(authority, provisional)).failed).toEqual(['firmware.committed']);
    expect((await verifiedBy(authority, provisional, { allowProvisional: true })).word).toBe('authentic');

    expectSuccess(await on.commit());
    const after = parseSnpReport((await reportOf(on)).report);
    expect(after).toMatchObject({ currentTcb: newer, committedTcb: newer, reportedTcb: newer });
    const committed = { report: after.raw, vek: await authority.vcek(on.chip, newer) };
    expect((await verifiedBy(authority, committed)).word).toBe('authentic');
  });
});

describe('a VLEK', () => {
  it.each(['milan', 'genoa', 'turin'] as const)(
    'of an operator signs on all its %s chips',
    async (generation) => {
      const authority = await snpTestAuthority(generation);
      const hashstick = drawVlekHashstick(seededRandom('operator'));
      for (const seed of ['one', 'two']) {
        const on = new SnpHypervisor({ generation, seed });
        await on.start();
        await on.runningGuest();
        expectSuccess(await on.loadVlek({ hashstick }));
        const { report } = await reportOf(on);
        expect(new DataView(report.buffer, report.byteOffset).getUint32(0x48, true)).toBe(4);
        const vek = await authority.vlek(hashstick, on.firmware.currentTcb);
        const expectations: ReportExpectations = {
          signingKey: 'VLEK',
          reportData,
          cspIds: ['CN=cloud.vouchsafe.invalid'],
        };
        expect(await verifiedBy(authority, { report, vek }, { expectations })).toMatchObject({
          word: 'accepted',
          failed: [],
        });
        const chips = await reportOf(on, { flags: { keySelection: 1 } });
        const vcek = await authority.vcek(on.chip, on.firmware.currentTcb);
        expect((await verifiedBy(authority, { report: chips.report, vek: vcek })).word).toBe('authentic');
      }
    },
  );
});
