import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  drawVlekHashstick,
  loadChipFile,
  machineProfiles,
  vlekWrapKey,
  wrapVlekHashstick,
} from '@vouchsafe/firmware';
import { parseTcbVersion, systemRandom } from '@vouchsafe/sev';
import { afterAll, describe, expect, it } from 'vitest';
import { run, runJson } from '../../testing/run.js';
import { hostProductLine, readTcb } from './snp-tcb.js';

const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-snp-platform-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);
const software = ['--software', at('processor'), '--generation', 'milan'];
const { currentTcb } = machineProfiles.milan.snp!;

describe('platform, with SEV-SNP', () => {
  it('status shows TCB versions, and what reports keep back', async () => {
    const { document } = await runJson<{ snp: unknown }>(['platform', 'status', ...software]);
    expect(document.snp).toMatchObject({
      apiMajor: 1,
      apiMinor: 55,
      currentTcb: { ...currentTcb, raw: '04000000000018db' },
      reportedTcb: currentTcb,
      maskChipId: false,
      vlekLoaded: false,
    });
    const { stdout } = await run(['platform', 'status', ...software]);
    expect(stdout).toMatch(/current TCB +bootloader 4, tee 0, snp 24, microcode 219\n/);
    expect(stdout).toMatch(/reports keep back +nothing\n/);
  });

  it('a processor without it has none', async () => {
    const naples = ['--software', at('naples'), '--generation', 'naples'];
    expect((await runJson<{ snp: unknown }>(['platform', 'status', ...naples])).document.snp).toBeNull();
    const { exit, stderr } = await run(['platform', 'commit', ...naples]);
    expect([exit, stderr]).toEqual([
      3,
      expect.stringMatching(/SEV-SNP: this processor has none\n {2}hint: .*Milan/),
    ]);
  });

  it('config changes what is given, and keeps the rest', async () => {
    const config = (...words: string[]) =>
      runJson<Record<string, unknown>>(['platform', 'config', ...software, ...words]);
    expect((await config('--tcb', 'microcode=209,snp=23')).document).toEqual({
      reportedTcb: { ...currentTcb, snp: 23, microcode: 209 },
      maskChipId: false,
      maskChipKey: false,
    });
    expect((await config('--mask-chip-id', 'on')).document).toMatchObject({
      reportedTcb: currentTcb,
      maskChipId: true,
    });
    expect((await config('--reset')).document).toMatchObject({ reportedTcb: currentTcb, maskChipId: false });
    const above = await run(['platform', 'config', ...software, '--tcb', 'microcode=255']);
    expect([above.exit, above.stderr]).toEqual([3, expect.stringMatching(/SNP_CONFIG.*INVALID_PARAM/)]);
    for (const words of [[], ['--reset', '--tcb', 'snp=1'], ['--tcb', 'fmc=1'], ['--tcb', 'nonsense=1']]) {
      expect((await run(['platform', 'config', ...software, ...words])).exit, words.join(' ')).toBe(2);
    }
  });

  it('commit says what it committed to', async () => {
    const { exit, stdout } = await run(['platform', 'commit', ...software]);
    expect([exit, stdout]).toEqual([
      0,
      'Committed to firmware 1.55.24: bootloader 4, tee 0, snp 24, microcode 219\n',
    ]);
  });

  it('vlek-load takes what was wrapped for this chip', async () => {
    const chip = await loadChipFile(at('processor/chip.json'));
    const wrapped = wrapVlekHashstick({
      wrapKey: vlekWrapKey(chip!),
      hashstick: drawVlekHashstick(systemRandom),
      line: 'Milan',
      tcb: currentTcb,
      random: systemRandom,
    });
    writeFileSync(at('hashstick.bin'), wrapped);
    expect(await run(['platform', 'vlek-load', at('hashstick.bin'), ...software])).toMatchObject({
      exit: 0,
      stdout: 'The VLEK is loaded.\n',
    });
    writeFileSync(at('altered.bin'), wrapped.with(0x20, wrapped[0x20]! ^ 1));
    const altered = await run(['platform', 'vlek-load', at('altered.bin'), ...software]);
    expect([altered.exit, altered.stderr]).toEqual([3, expect.stringMatching(/BAD_MEASUREMENT/)]);
    writeFileSync(at('short.bin'), wrapped.slice(1));
    expect((await run(['platform', 'vlek-load', at('short.bin'), ...software])).exit).toBe(2);
  });
});

describe('TCB versions of a host', () => {
  it('are read by its product line, or where that is not known by what is reserved', async () => {
    writeFileSync(
      at('cpuinfo'),
      'vendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: EPYC\n',
    );
    expect(await hostProductLine(at('cpuinfo'))).toBe('Turin');
    expect(await hostProductLine(at('no-such-file'))).toBeUndefined();
    const turin = Uint8Array.of(1, 1, 1, 4, 0, 0, 0, 82);
    expect(readTcb(turin, undefined)).toEqual(parseTcbVersion(turin, 'turin'));
    expect(readTcb(turin, 'Turin')).toEqual({ fmc: 1, bootloader: 1, tee: 1, snp: 4, microcode: 82 });
    const milan = Uint8Array.of(4, 0, 0, 0, 0, 0, 24, 219);
    expect(readTcb(milan, undefined)).toEqual(currentTcb);
  });
});
