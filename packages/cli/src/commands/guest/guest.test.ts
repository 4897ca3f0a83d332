import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sealStandInVolume } from '@vouchsafe/guest';
import { parseFirmwareFooter, Secret, systemRandom } from '@vouchsafe/sev';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { run, runJson } from '../../testing/run.js';

const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-guest-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);
const diskKeyGuid = '736869e5-84f0-4973-92ec-06879ce3da0b';
const key = 'correct horse battery staple';
const volume = (pass: string) =>
  sealStandInVolume({
    content: new TextEncoder().encode('the disk'),
    key: Secret.take(new TextEncoder().encode(pass)),
    random: systemRandom,
  });

beforeEach(() => {
  rmSync(at('coco'), { recursive: true, force: true });
  mkdirSync(at('coco'));
  writeFileSync(at(`coco/${diskKeyGuid}`), key);
});

describe('guest', () => {
  it('lists secrets without printing them', async () => {
    const { document, stdout } = await runJson<{ secrets: unknown }>([
      'guest',
      'secrets',
      '--folder',
      at('coco'),
    ]);
    expect(document.secrets).toEqual([{ guid: diskKeyGuid, name: 'luksKey', bytes: key.length }]);
    const text = await run(['guest', 'secrets', '--folder', at('coco')]);
    expect(text.stdout).toContain(diskKeyGuid);
    expect(stdout + text.stdout).not.toContain('horse');
  });

  it('takes one, once', async () => {
    const words = ['guest', 'secrets', '--folder', at('coco'), '--take', diskKeyGuid, '--out', at('taken')];
    expect((await run(words)).exit).toBe(0);
    expect(readFileSync(at('taken'), 'utf8')).toBe(key);
    expect(statSync(at('taken')).mode & 0o777).toBe(0o600);
    expect(existsSync(at(`coco/${diskKeyGuid}`))).toBe(false);
    expect((await run(words)).exit).toBe(3);
    expect((await run(words.slice(0, -2))).exit).toBe(2);
  });

  it('unlocks a volume and wipes the key; a wrong key is a refusal and stays', async () => {
    writeFileSync(at('disk.img'), volume(key));
    writeFileSync(at('other.img'), volume('another pass-phrase!'));
    const wrong = await run(['guest', 'unlock', at('other.img'), '--folder', at('coco')]);
    expect([wrong.exit, wrong.stderr]).toEqual([1, expect.stringContaining('does not unlock')]);
    expect(existsSync(at(`coco/${diskKeyGuid}`))).toBe(true);
    expect((await run(['guest', 'unlock', at('disk.img'), '--folder', at('coco'), '--keep'])).exit).toBe(0);
    expect(existsSync(at(`coco/${diskKeyGuid}`))).toBe(true);
    const { exit, stdout } = await run(['guest', 'unlock', at('disk.img'), '--folder', at('coco')]);
    expect([exit, stdout]).toEqual([
      0,
      `The key unlocks ${at('disk.img')}.\nThe key was wiped from where it was injected.\n`,
    ]);
    expect(existsSync(at(`coco/${diskKeyGuid}`))).toBe(false);
  });

  it('says what is missing', async () => {
    const { exit, stderr } = await run(['guest', 'secrets', '--folder', at('none')]);
    expect([exit, stderr]).toEqual([3, expect.stringContaining(at('none'))]);
    expect((await run(['guest', 'unlock', at('none'), '--folder', at('coco')])).exit).toBe(3);
    writeFileSync(at('text'), 'no volume');
    expect((await run(['guest', 'unlock', at('text'), '--folder', at('coco')])).exit).toBe(2);
  });

  it('writes the firmware image of software guests', async () => {
    expect((await run(['guest', 'firmware', at('guest.fd')])).exit).toBe(0);
    const { secretArea, hashTableArea } = parseFirmwareFooter(new Uint8Array(readFileSync(at('guest.fd'))));
    expect(secretArea?.size).toBeGreaterThan(0);
    expect(hashTableArea?.size).toBeGreaterThan(0);
  });
});
