import { InvalidArgumentError, vcpuSignatureOf } from '@vouchsafe/sev';
import { expect, test } from 'vitest';
import { optionList } from '../testing/stand-in-qemu.js';
import { probeArguments, qemuArguments } from './qemu-arguments.js';

const guest = {
  policy: 0x05,
  vcpus: 4,
  vcpuSignature: vcpuSignatureOf('EPYC-Milan'),
  memory: 2 * 1024 ** 3,
  cBitPosition: 51,
  reducedPhysBits: 1,
};
const after = (commandLine: readonly string[], name: string) => commandLine[commandLine.indexOf(name) + 1]!;

test('a measured SEV-ES guest, as QEMU wants it said', () => {
  const commandLine = qemuArguments(guest, {
    qmpSocket: '/run/v/qmp',
    firmware: '/run/v/firmware.fd',
    channel: { godhCertificate: '/run/v/godh.b64', session: '/run/v/session.b64' },
    directBoot: { kernel: '/run/v/kernel', initrd: '/run/v/initrd', commandLine: 'a=b, c' },
  });
  expect(commandLine).toEqual([
    ...['-machine', 'q35,accel=kvm,vmport=off,confidential-guest-support=sev0'],
    '-object',
    'sev-guest,id=sev0,cbitpos=51,reduced-phys-bits=1,policy=0x5,dh-cert-file=/run/v/godh.b64,session-file=/run/v/session.b64,kernel-hashes=on',
    ...['-cpu', 'EPYC-Milan', '-smp', '4', '-m', '2097152K'],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-S', '-no-reboot'],
    ...['-drive', 'if=pflash,format=raw,unit=0,readonly=on,file=/run/v/firmware.fd'],
    ...['-kernel', '/run/v/kernel', '-initrd', '/run/v/initrd', '-append', 'a=b, c'],
    ...['-qmp', 'unix:/run/v/qmp,server=on,wait=off'],
  ]);
});

test('without kernel and session, nothing is said of them', () => {
  const commandLine = qemuArguments(guest, { qmpSocket: '/q', firmware: '/f' });
  expect(after(commandLine, '-object')).toBe('sev-guest,id=sev0,cbitpos=51,reduced-phys-bits=1,policy=0x5');
  expect(commandLine).not.toContain('-kernel');
});

test('commas in the names of files are QEMU’s doubled ones', () => {
  const commandLine = qemuArguments(guest, { qmpSocket: '/a,b/qmp', firmware: '/a,readonly=off,b/f' });
  expect(optionList(after(commandLine, '-drive')).values.get('file')).toBe('/a,readonly=off,b/f');
  expect(optionList(after(commandLine, '-qmp')).first).toBe('unix:/a,b/qmp');
  expect(probeArguments('/a,b/q')).toContain('unix:/a,,b/q,server=on,wait=off');
});

test('a CPU that QEMU has no model for is refused', () => {
  expect(() => qemuArguments({ ...guest, vcpuSignature: 1 }, { qmpSocket: '/q', firmware: '/f' })).toThrow(
    InvalidArgumentError,
  );
});
