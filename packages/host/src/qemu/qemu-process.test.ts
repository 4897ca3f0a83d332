import { UnavailableError } from '@vouchsafe/sev';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import { FirmwareCommandError } from '../platform/firmware-error.js';
import { qemuLauncher } from './qemu-launcher.js';
import { endedEarly } from './qemu-process.js';

test('a QEMU that is not installed is named, with its package', async () => {
  const launcher = qemuLauncher({
    program: '/nonexistent/qemu-system-x86_64',
    temporaryFolder: temporaryFolder(),
  });
  await expect(launcher.capabilities()).rejects.toMatchObject({
    code: 'unavailable',
    what: '/nonexistent/qemu-system-x86_64',
    hint: expect.stringContaining('qemu-system-x86'),
  });
});

test.each<[string, string, RegExp]>([
  ["qemu-system-x86_64: sev_kvm_init: cbitpos check failed, host '0' requested '51'", 'SEV', /no SEV/],
  [
    'Could not access KVM kernel module: No such file or directory\nqemu: failed to initialize kvm',
    '/dev/kvm',
    /no hardware/,
  ],
  ['Could not access KVM kernel module: Permission denied', '/dev/kvm', /may not open/],
  ["sev_kvm_init: Failed to open /dev/sev 'No such file or directory'", '/dev/sev', /cannot open/],
  ['sev_kvm_init: guest policy requires SEV-ES, but host SEV-ES support unavailable', 'SEV-ES', /SEV alone/],
  ["vl.c:2590: qemu_machine_creation_done: Assertion `machine->cgs->ready' failed.", 'KVM', /only with KVM/],
  ["-object sev-guest: Parameter 'qom-type' does not accept value 'sev-guest'", 'QEMU', /without SEV/],
  ['SEV: kernel specified but guest firmware has no hashes table GUID', 'firmware', /no room/],
  ["qemu-system-x86_64: unable to find CPU model 'EPYC-Turin'", 'QEMU', /CPU model/],
  ['could not load PC BIOS', 'QEMU', /could not load PC BIOS/],
  ['', 'QEMU', /without a word/],
])('QEMU’s last words %j are explained', (text, what, says) => {
  const error = endedEarly(text);
  expect(error).toBeInstanceOf(UnavailableError);
  expect(error).toMatchObject({ what });
  expect(error.message).toMatch(says);
});

test.each([
  ["sev_launch_start: LAUNCH_START ret=1 fw_error=11 'Bad measurement'", 'LAUNCH_START', 'BAD_MEASUREMENT'],
  ["sev_launch_update_data: LAUNCH_UPDATE ret=-5 fw_error=2 ''", 'LAUNCH_UPDATE_DATA', 'INVALID_GUEST_STATE'],
  ["sev_launch_finish: LAUNCH_FINISH ret=-5 fw_error=8 'Guest is not active'", 'LAUNCH_FINISH', 'INACTIVE'],
])('%s is the processor’s refusal', (text, command, statusName) => {
  const error = endedEarly(`qemu-system-x86_64: warning: something\nqemu-system-x86_64: ${text}\n`);
  expect(error).toBeInstanceOf(FirmwareCommandError);
  expect(error).toMatchObject({ command, statusName });
});
