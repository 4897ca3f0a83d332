import { symlink } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { deferred } from '../deferred.js';
import { launcherConformance } from '../testing/launcher-conformance.js';
import { negotiating } from '../testing/scripted-qmp.js';
import { snpConfiguration } from '../testing/snp-fixture.js';
import { snpLauncherConformance } from '../testing/snp-launcher-conformance.js';
import { optionList, standInQemu } from '../testing/stand-in-qemu.js';
import { qemuLauncher } from './qemu-launcher.js';
import type { StartQemu } from './qemu-process.js';

launcherConformance('qemu', (host) => qemuLauncher({ start: standInQemu(host) }));
snpLauncherConformance('qemu', (host) => qemuLauncher({ start: standInQemu(host) }));

const capabilities = { pdh: '', 'cert-chain': '', cbitpos: 51, 'reduced-phys-bits': 1 };

test('a QEMU that ends because the processor refused the guest is understood by its last words', async () => {
  const start: StartQemu = async (commandLine) => {
    const ended = deferred<{ errorText: string }>();
    const scripted = await negotiating(({ execute, id }, socket) => {
      if (execute === 'cont') {
        ended.resolve({
          errorText:
            "qemu-system-x86_64: sev_snp_launch_finish: SNP_LAUNCH_FINISH ret=-5 fw_error=11 'Bad measurement'",
        });
        socket.destroy();
        return;
      }
      const answer = execute === 'query-sev-capabilities' ? capabilities : {};
      socket.write(`${JSON.stringify({ return: answer, id })}\r\n`);
      if (execute === 'quit') ended.resolve({ errorText: '' });
    });
    await symlink(
      scripted,
      optionList(commandLine[commandLine.indexOf('-qmp') + 1]!).first.slice('unix:'.length),
    );
    return { ended: ended.promise, kill: () => ended.resolve({ errorText: 'killed' }) };
  };
  const machine = await qemuLauncher({ start }).launchSnp(snpConfiguration);
  await expect(machine.resume()).rejects.toMatchObject({
    code: 'firmware-status',
    command: 'SNP_LAUNCH_FINISH',
    statusName: 'BAD_MEASUREMENT',
  });
  await machine.quit();
});
