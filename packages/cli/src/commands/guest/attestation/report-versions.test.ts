import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createSoftwareMachine,
  machineProfiles,
  manufactureChip,
  vcekEndorsementRequest,
} from '@vouchsafe/firmware';
import {
  type AttestationDevice,
  buildGuestFirmware,
  guestFirmwareProgram,
  serveAttestationSocket,
} from '@vouchsafe/guest';
import { softwareLauncher } from '@vouchsafe/host';
import { openDevelopmentAuthority } from '@vouchsafe/kds';
import {
  buildCertificateTable,
  certificateTableGuids,
  parseSnpReport,
  systemRandom,
  toHex,
  vcpuSignatureOf,
} from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import { testAuthorityKeys } from '../../../../../kds/src/testing/authority-keys.js';
import { temporaryFolder } from '../../../../../kds/src/testing/temporary.js';
import { run, runJson } from '../../../testing/run.js';

/** A guest on a software machine that emulates a line and a report version; its device is served on a socket. */
async function served(generation: 'milan' | 'genoa' | 'turin', reportVersion: 2 | 3 | 5) {
  const at = (name: string) => join(folder, name);
  const folder = temporaryFolder();
  const { snp } = await openDevelopmentAuthority({ folder, generation, generateKeys: testAuthorityKeys });
  const chip = manufactureChip({ random: systemRandom, generation });
  const { currentTcb } = machineProfiles[generation].snp!;
  const vcek = await snp!.endorseVcek(vcekEndorsementRequest(chip, currentTcb));
  const { ARK, ASK, VCEK } = certificateTableGuids;
  const certificateTable = buildCertificateTable([
    { guid: ARK, bytes: snp!.ark },
    { guid: ASK, bytes: snp!.ask },
    { guid: VCEK, bytes: vcek },
  ]);

  const profile = { snp: { reportVersion } };
  const machine = createSoftwareMachine({ chip, random: systemRandom, memory: 16 * 2 ** 20, profile });
  const lent = new Promise<AttestationDevice>((lend) => {
    machine.insertGuest(
      guestFirmwareProgram({
        async init({ attestation }) {
          lend(attestation!);
          await new Promise(() => undefined);
        },
      }),
    );
  });
  const guest = await softwareLauncher(machine.host).launchSnp({
    mode: 'snp',
    policy: 0x30000n,
    firmware: buildGuestFirmware(),
    vcpus: 1,
    vcpuSignature: vcpuSignatureOf('EPYC-Milan'),
    memory: 2 * 2 ** 20,
    certificateTable,
  });
  await guest.resume();
  const server = await serveAttestationSocket(await lent, at('socket'));
  onTestFinished(async () => {
    await server.close();
    await guest.quit();
    await machine.close();
  });
  return { at, device: `socket:${at('socket')}`, root: at(`${generation}/ark.der`) };
}

const lines = { milan: 'Milan', genoa: 'Genoa', turin: 'Turin' } as const;
const emulated = (['milan', 'genoa', 'turin'] as const).flatMap((generation) =>
  ([2, 3, 5] as const).map((version) => [generation, version] as const),
);

describe('guest report of a software machine', () => {
  it.each(emulated)(
    '%s, version %i: verifies under its own root, and under no other',
    async (generation, version) => {
      const { at, device, root } = await served(generation, version);
      const nonce = toHex(systemRandom(64));
      const files = ['--out', at('report.bin'), '--certificates', at('certs.bin')];
      expect(
        (await run(['guest', 'report', '--device', device, '--report-data', nonce, ...files])).exit,
      ).toBe(0);
      expect(parseSnpReport(new Uint8Array(readFileSync(at('report.bin')))).version).toBe(version);

      const name = `Vouchsafe Development, ${lines[generation]}`;
      const evidence = [at('report.bin'), '--certs', at('certs.bin')];
      const expected = ['--report-data', nonce, '--product', lines[generation]];
      const accepted = await runJson<{ root: { name: string; kind: string } }>([
        'report',
        'verify',
        ...evidence,
        ...expected,
        '--root',
        root,
      ]);
      expect([accepted.exit, accepted.document]).toMatchObject([0, { root: { name, kind: 'development' } }]);

      const refused = await run(['report', 'verify', ...evidence, ...expected]);
      expect(refused.exit).toBe(1);
      expect(refused.stdout).toContain('(endorsement.ark.root)');
      expect(refused.stdout).not.toContain(`root: ${name}`);

      const shown = await run(['report', 'show', ...evidence, '--root', root]);
      expect([shown.exit, shown.stdout]).toEqual([0, expect.stringContaining(`root: ${name}`)]);
      const bare = await run(['report', 'show', at('report.bin'), '--product', lines[generation]]);
      expect([bare.exit, bare.stdout]).toEqual([0, expect.stringContaining('root: not known')]);
    },
  );
});
