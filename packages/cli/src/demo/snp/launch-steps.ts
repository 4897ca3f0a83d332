import type { HostMachine } from '@vouchsafe/firmware';
import { type SoftwareSnpMachine, softwarePlatform } from '@vouchsafe/host';
import { createKdsClient } from '@vouchsafe/kds';
import { buildCertificateTable, certificateTableGuids, parseTcbVersion } from '@vouchsafe/sev';
import type { Narrator } from '../narration.js';

/** What every host of a demo does for a SEV-SNP guest. */

/** As operators do: the chip's certificates are fetched once, and given to every guest that asks for a report. */
export async function certificatesOf(
  machine: HostMachine,
  keyService: string,
  narrate: Narrator,
): Promise<Uint8Array> {
  const platform = softwarePlatform(machine);
  const chipId = await platform.chipId();
  const { reportedTcb } = await platform.snp.status();
  const client = createKdsClient({ baseUrl: keyService });
  await narrate.message('host', 'key service', 'GET the VCEK of this chip id and TCB version', chipId);
  const vcek = await client.vcek({ line: 'Milan', chipId, tcb: parseTcbVersion(reportedTcb, 'milan') });
  await narrate.message('key service', 'host', 'VCEK, signed by the ASK', vcek);
  const [ask, ark] = await client.certificateChain('VCEK', 'Milan');
  await narrate.message('key service', 'host', 'ASK and ARK of Milan', ask);
  const { ARK, ASK, VCEK } = certificateTableGuids;
  return buildCertificateTable([
    { guid: ARK, bytes: ark },
    { guid: ASK, bytes: ask },
    { guid: VCEK, bytes: vcek },
  ]);
}

/** @returns what the guest printed */
export async function runUntilBooted(guest: SoftwareSnpMachine): Promise<string[]> {
  const lines: string[] = [];
  const end = new Promise<void>((resolve) => {
    guest.onEvent((event) => {
      if (event.type === 'console') lines.push(event.line);
      if (event.type === 'booted' || event.type === 'ended') resolve();
    });
  });
  await guest.resume();
  await end;
  return lines;
}
