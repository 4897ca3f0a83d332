import { createIdBlock, generateP384, InvalidArgumentError, toBase64, vcpuSignatureOf } from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import { optionList } from '../testing/stand-in-qemu.js';
import { probeArguments, qemuArguments, qemuSnpArguments } from './qemu-arguments.js';

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

describe('a SEV-SNP guest', () => {
  const snpGuest = { ...guest, policy: 0x30000n };
  const files = { qmpSocket: '/q', firmware: '/run/v/OVMF,amdsev.fd' };
  const snpObject = (changes: Partial<Parameters<typeof qemuSnpArguments>[0]> = {}) =>
    optionList(after(qemuSnpArguments({ ...snpGuest, ...changes }, files), '-object'));

  test('as QEMU 9.1 wants it said', () => {
    const directBoot = { kernel: '/run/v/kernel', commandLine: 'console=ttyS0' };
    expect(qemuSnpArguments(snpGuest, { ...files, directBoot })).toEqual([
      ...['-machine', 'q35,accel=kvm,vmport=off,confidential-guest-support=sev0'],
      '-object',
      'sev-snp-guest,id=sev0,cbitpos=51,reduced-phys-bits=1,policy=0x30000,kernel-hashes=on',
      ...['-cpu', 'EPYC-Milan', '-smp', '4', '-m', '2097152K'],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-S', '-no-reboot'],
      // KVM refuses a read-only flash device over the private memory of a guest.
      ...['-bios', '/run/v/OVMF,amdsev.fd'],
      ...['-kernel', '/run/v/kernel', '-append', 'console=ttyS0'],
      ...['-qmp', 'unix:/q,server=on,wait=off'],
    ]);
  });

  test('carries what its owner signed, and says whether an author vouches for it', async () => {
    const [idKey, authorKey] = [await generateP384(), await generateP384()];
    const launchDigest = new Uint8Array(48).fill(1);
    for (const author of [undefined, authorKey]) {
      const made = await createIdBlock({ launchDigest, idKey, authorKey: author });
      const { values } = snpObject({
        idBlock: { block: made.idBlock, authentication: made.idAuthentication },
      });
      expect(values.get('id-block')).toBe(toBase64(made.idBlock));
      expect(values.get('id-auth')).toBe(toBase64(made.idAuthentication));
      expect(values.get('author-key-enabled')).toBe(author === undefined ? undefined : 'on');
    }
  });

  test('carries the host’s data, workarounds, and which key may sign', () => {
    const { values } = snpObject({
      hostData: new Uint8Array(32).fill(7),
      guestVisibleWorkarounds: new Uint8Array(16).fill(9),
      vcekDisabled: true,
    });
    expect(values.get('host-data')).toBe(toBase64(new Uint8Array(32).fill(7)));
    expect(values.get('guest-visible-workarounds')).toBe(toBase64(new Uint8Array(16).fill(9)));
    expect(values.get('vcek-disabled')).toBe('on');
  });

  test('has a secure time stamp counter when its features say so, and no other feature', () => {
    expect(snpObject({ guestFeatures: 0x201n }).values.get('secure-tsc')).toBe('on');
    expect(snpObject({ guestFeatures: 0x1n }).values.has('secure-tsc')).toBe(false);
    expect(() => snpObject({ guestFeatures: 0x21n })).toThrow(InvalidArgumentError);
    expect(() => snpObject({ guestFeatures: 0n })).toThrow(InvalidArgumentError);
  });
});
