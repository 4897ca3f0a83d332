import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toBase64 } from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import { channelAttestationDevice } from '../../snp/channel-device.js';
import { openGuestChannel } from '../../snp/guest-channel.js';
import { bootSector } from '../../testing/boot-sector.js';
import { hostOf, ScriptedFirmware } from '../../testing/scripted-firmware.js';
import { temporaryFolder } from '../../testing/temporary.js';
import { serveAttestationSocket } from './served-socket.js';

const qemu = '/usr/bin/qemu-system-x86_64';

/** Ends with QEMU’s status: 33 when the guest got what it expected, 3 when not. */
function runQemu(disk: string, socket: string): Promise<number> {
  const words = [
    ...['-machine', 'pc,accel=tcg', '-m', '16', '-nodefaults', '-display', 'none', '-no-reboot'],
    ...['-drive', `file=${disk},format=raw,if=ide`, '-device', 'isa-debug-exit,iobase=0xf4,iosize=4'],
    ...['-chardev', `socket,id=vsnp,path=${socket}`, '-serial', 'chardev:vsnp'],
  ];
  return new Promise((resolve) => {
    const child = execFile(qemu, words, { timeout: 60_000 }, () => resolve(child.exitCode ?? -1));
  });
}

describe('a guest of QEMU', () => {
  if (!existsSync(qemu)) it.skipIf(true)('QEMU is not installed (package qemu-system-x86)', () => undefined);
  else {
    it.each([
      ['a report over its serial line', '{"type":"report","id":5,"report":"', 33],
      ['nothing else', '{"type":"key"', 3],
    ])('gets %s from a served socket', async (_what, expected, status) => {
      const folder = temporaryFolder();
      const socket = join(folder, 'device.socket');
      const firmware = new ScriptedFirmware();
      const channel = openGuestChannel({ transport: hostOf(firmware), key: firmware.key(0), vmpck: 0 });
      const served = await serveAttestationSocket(channelAttestationDevice(channel), socket);
      onTestFinished(() => served.close());
      const request = { type: 'report', id: 5, reportData: toBase64(new Uint8Array(64).fill(1)) };
      const disk = join(folder, 'disk.img');
      writeFileSync(disk, bootSector(`${JSON.stringify(request)}\n`, expected));
      expect(await runQemu(disk, socket)).toBe(status);
      expect(firmware.answered).toEqual(['REPORT_REQ']);
    });
  }
});
