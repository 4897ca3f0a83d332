import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  InvalidArgumentError,
  MalformedError,
  toBase64,
  UnavailableError,
  vcpuSignatureOf,
} from '@vouchsafe/sev';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import { readLaunchFiles } from './launch-files.js';

function files() {
  const folder = temporaryFolder();
  const file = (name: string, content: string) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const certificate = new Uint8Array(0x824).fill(1);
  const session = new Uint8Array(0x80).fill(2);
  return {
    file,
    certificate,
    session,
    firmware: file('firmware', 'f'),
    channel: {
      godhCertificate: file('godh', `${toBase64(certificate)}\n`),
      session: file('session', toBase64(session)),
    },
  };
}

test('reads what QEMU reads: base64 for the channel, bytes for the rest; the policy decides the mode', async () => {
  const { file, certificate, session, firmware, channel } = files();
  const directBoot = { kernel: file('kernel', 'k'), initrd: file('initrd', 'i'), commandLine: 'quiet' };
  expect(
    await readLaunchFiles({ policy: 5, firmware, channel, directBoot, vcpus: 2, vcpuType: 'EPYC-Rome' }),
  ).toEqual({
    mode: 'sev-es',
    policy: 5,
    firmware: new TextEncoder().encode('f'),
    channel: { godhCertificate: certificate, session },
    directBoot: {
      kernel: new TextEncoder().encode('k'),
      initrd: new TextEncoder().encode('i'),
      commandLine: 'quiet',
    },
    vcpus: 2,
    vcpuSignature: vcpuSignatureOf('EPYC-Rome'),
  });
  expect(await readLaunchFiles({ policy: 1, firmware })).toMatchObject({
    mode: 'sev',
    vcpus: 1,
    vcpuSignature: vcpuSignatureOf('EPYC-Milan'),
  });
});

test('a file that is missing, raw where base64 belongs, or a CPU that is not known', async () => {
  const { file, firmware, channel } = files();
  await expect(readLaunchFiles({ policy: 1, firmware: '/nonexistent' })).rejects.toBeInstanceOf(
    UnavailableError,
  );
  const raw = { ...channel, session: file('raw', '\u0001\u0002') };
  await expect(readLaunchFiles({ policy: 1, firmware, channel: raw })).rejects.toBeInstanceOf(MalformedError);
  await expect(readLaunchFiles({ policy: 1, firmware, vcpuType: 'Pentium' })).rejects.toBeInstanceOf(
    InvalidArgumentError,
  );
});
