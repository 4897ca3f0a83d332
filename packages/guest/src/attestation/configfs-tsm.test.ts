import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { InvalidArgumentError, parseSnpReport } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { channelAttestationDevice } from '../snp/channel-device.js';
import { openGuestChannel } from '../snp/guest-channel.js';
import { hostOf, ScriptedFirmware } from '../testing/scripted-firmware.js';
import { temporaryFolder } from '../testing/temporary.js';
import { TsmModel, type TsmModelOptions } from '../testing/tsm-model.js';
import { RequestRefusedError } from './attestation-device.js';
import { configfsTsmDevice } from './configfs-tsm.js';
import { makeFifos } from './served/fifo.js';
import { tsmFiles } from './tsm-files.js';

const reportData = new Uint8Array(64).fill(7);

function open(options?: TsmModelOptions, vmpck = 0) {
  const firmware = new ScriptedFirmware();
  const channel = openGuestChannel({ transport: hostOf(firmware), key: firmware.key(vmpck), vmpck });
  const model = new TsmModel(channelAttestationDevice(channel), options);
  return { model, device: configfsTsmDevice({ files: model }) };
}

describe('configfs-tsm', () => {
  it('is used in an entry of the call’s own, with the generation read before and after', async () => {
    const { model, device } = open();
    await device.report({ reportData, vmpl: 1 });
    expect(model.log).toEqual([
      'mkdir',
      'read provider',
      'read generation',
      'write privlevel',
      'write inblob',
      'read outblob',
      'read auxblob',
      'read generation',
      'rmdir',
    ]);
    expect(model.entries.size).toBe(0);
  });

  it('names entries so that callers do not meet', async () => {
    const { model, device } = open();
    const folders = new Set<string>();
    const making = model.makeEntry.bind(model);
    model.makeEntry = async (folder) => {
      folders.add(folder);
      await making(folder);
    };
    await Promise.all([1, 2, 3].map(() => device.report({ reportData })));
    expect(folders.size).toBe(3);
    expect([...new Set([...folders].map(dirname))]).toEqual(['/sys/kernel/config/tsm/report']);
  });

  it('is read again when somebody else wrote between', async () => {
    let meddled = 0;
    const { model, device } = open({
      meddle(operation, entry) {
        if (operation === 'read auxblob' && meddled < 2) {
          meddled += 1;
          entry.generation += 1;
        }
      },
    });
    const { report } = await device.report({ reportData });
    expect(parseSnpReport(report).reportData).toEqual(reportData);
    expect(model.log.filter((each) => each === 'write inblob')).toHaveLength(3);
  });

  it('is given up when somebody else never stops writing', async () => {
    const { model, device } = open({
      meddle(operation, entry) {
        if (operation === 'read outblob') entry.generation += 1;
      },
    });
    await expect(device.report({ reportData })).rejects.toThrow('somebody else writes');
    expect(model.entries.size, 'the entry is removed').toBe(0);
  });

  it('that refuses a level says from which on there are reports', async () => {
    const { device, model } = open({ floor: 2 }, 2);
    const refusal = device.report({ reportData, vmpl: 1 });
    await expect(refusal).rejects.toThrow(InvalidArgumentError);
    await expect(refusal).rejects.toThrow('this guest gets reports for 2 to 3, not for 1');
    expect(parseSnpReport((await device.report({ reportData })).report).vmpl).toBe(2);
    expect(model.entries.size).toBe(0);
  });

  it('of another kind of machine is refused', async () => {
    const { device } = open({ provider: 'tdx_guest' });
    await expect(device.report({ reportData })).rejects.toThrow('its reports come from "tdx_guest"');
  });

  it.each([
    ['ENXIO', 'load the module sev-guest'],
    ['ENOENT', 'mount configfs'],
    ['EACCES', 'only root'],
  ])('without entries (%s) is not there, and says what is missing', async (mkdir, hint) => {
    const { device } = open({ mkdir });
    await expect(device.report({ reportData })).rejects.toMatchObject({
      code: 'unavailable',
      hint: expect.stringContaining(hint),
    });
  });

  it('whose firmware refuses (EINVAL) is told apart from one that fails', async () => {
    const refused = open({ outblob: 'EINVAL' });
    await expect(refused.device.report({ reportData })).rejects.toThrow(RequestRefusedError);
    expect(refused.model.entries.size).toBe(0);
    for (const [code, hint] of [
      ['ETIMEDOUT', 'throttles'],
      ['ENOTTY', 'wiped its key'],
      ['EIO', 'dmesg'],
    ] as const) {
      await expect(open({ outblob: code }).device.report({ reportData })).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringContaining(code),
        hint: expect.stringContaining(hint),
      });
    }
  });

  it.each<[string, Uint8Array]>([
    ['a report that is too short', new Uint8Array(1183)],
    ['no report', new Uint8Array(0)],
  ])('that gives %s is refused', async (_what, outblob) => {
    const { model } = open();
    const reading = model.read.bind(model);
    model.read = async (file) => (file.endsWith('outblob') ? outblob : reading(file));
    const device = configfsTsmDevice({ files: model });
    await expect(device.report({ reportData })).rejects.toThrow(`its report has ${outblob.length} bytes`);
  });

  it('whose generation is no number is refused', async () => {
    const { model } = open();
    const reading = model.read.bind(model);
    model.read = async (file) =>
      file.endsWith('generation') ? new TextEncoder().encode('many\n') : reading(file);
    await expect(configfsTsmDevice({ files: model }).report({ reportData })).rejects.toThrow('"many"');
  });
});

describe('plain files', () => {
  it('in a folder that nobody serves are not there', async () => {
    const folder = temporaryFolder();
    await expect(configfsTsmDevice({ folder }).report({ reportData })).rejects.toThrow('ENOENT');
    const none = configfsTsmDevice({ folder: join(folder, 'none') });
    await expect(none.report({ reportData })).rejects.toMatchObject({
      hint: expect.stringContaining('served'),
    });
  });

  it('in a folder whose server was killed are not waited for', async () => {
    const folder = temporaryFolder();
    await makeFifos(join(folder, 'ready'));
    await expect(
      configfsTsmDevice({ folder, files: tsmFiles(20) }).report({ reportData }),
    ).rejects.toMatchObject({
      code: 'unavailable',
      hint: 'its server is gone: remove the folder and serve it again',
    });
    expect(readdirSync(folder)).toEqual(['ready']);
  });

  it('are read to a limit and not further', async () => {
    const file = join(temporaryFolder(), 'blob');
    writeFileSync(file, new Uint8Array(100));
    expect((await tsmFiles().read(file, 100)).length).toBe(100);
    await expect(tsmFiles().read(file, 99)).rejects.toMatchObject({ code: 'EFBIG' });
  });

  it('of an entry are removed with it', async () => {
    const folder = join(temporaryFolder(), 'entry');
    mkdirSync(folder);
    writeFileSync(join(folder, 'inblob'), '');
    await tsmFiles().removeEntry(folder);
    await expect(tsmFiles().removeEntry(folder)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
