import { InvalidArgumentError, parseCertificateTable, systemRandom, toHex } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { describeOutput, type OutputFile, readEncoded, writeOutputs } from '../../../frame/files.js';
import type { Io } from '../../../frame/io.js';
import { hexOrBase64, number, path, required } from '../../../frame/options.js';
import { attestationDevice } from './device.js';

export const report = command({
  description:
    'Inside a SEV-SNP guest: asks the secure processor for an attestation report over 64 bytes of the caller’s, and ' +
    'writes it as configfs-tsm and the other tools have it, 1184 bytes. `report verify` accepts or refuses it, anywhere.',
  arguments: {},
  options: {
    device: attestationDevice,
    reportData: hexOrBase64('--report-data <hex>', 'the 64 bytes, as hexadecimal digits or base64', 64),
    nonce: path('--nonce <file>', 'file of the 64 bytes, raw, as hexadecimal or as base64'),
    random: path('--random <file>', 'draw the 64 bytes, and write them to this file'),
    vmpl: number('--vmpl <n>', 'privilege level that the report names (default: that of the kernel)', {
      most: 3,
    }),
    out: required(path('--out <file>', 'where to write the report')),
    certificates: path(
      '--certificates <file>',
      'where to write the host’s table of certificates, if it gives one',
    ),
  },
  examples: [
    { line: 'guest report --nonce nonce.bin --out report.bin', explains: 'over the challenge of a verifier' },
    {
      line: 'guest report --device socket:vsnp.socket --random nonce.bin --out report.bin --certificates certs.bin',
      explains: 'from the software machine of `guest device serve`',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { vmpl, out, certificates } = input;
    const { reportData, drawn } = await readReportData(input, io);
    const device = input.device();
    try {
      const { report: bytes, certificateTable } = await device.report({ reportData, vmpl });
      const files: OutputFile[] = [{ path: out, bytes }, ...drawn];
      const given = certificateTable ?? new Uint8Array();
      if (certificates !== undefined && given.length > 0) files.push({ path: certificates, bytes: given });
      await writeOutputs(files, { overwrite: true });
      const kinds = tableKinds(given);
      return {
        exit: 0,
        json: {
          device: device.kind,
          reportData: toHex(reportData),
          certificates: kinds,
          files: files.map(describeOutput),
        },
        render(screen) {
          screen.line(
            `Wrote ${out}: an attestation report from ${device.kind}, which nobody has verified yet`,
          );
          for (const { path: name } of drawn) screen.line(`Wrote ${name}: the 64 bytes that it is over`);
          if (certificates === undefined) return;
          screen.line(
            given.length === 0
              ? 'The host gave no certificates'
              : `Wrote ${certificates}: the host’s certificates (${kinds?.join(', ') ?? 'in no form that we know'})`,
          );
        },
      };
    } finally {
      await device.close();
    }
  },
});

async function readReportData(
  {
    reportData,
    nonce,
    random,
  }: {
    readonly reportData: Uint8Array | undefined;
    readonly nonce: string | undefined;
    readonly random: string | undefined;
  },
  io: Io,
): Promise<{ readonly reportData: Uint8Array; readonly drawn: readonly OutputFile[] }> {
  const given = [reportData, nonce, random].filter((each) => each !== undefined);
  if (given.length !== 1) {
    throw new InvalidArgumentError('--report-data', 'give one of --report-data, --nonce and --random', {
      hint: 'a report over bytes that its verifier did not choose may be an old one',
    });
  }
  if (reportData !== undefined) return { reportData, drawn: [] };
  if (nonce !== undefined) return { reportData: await readEncoded(nonce, 'nonce', io, [64]), drawn: [] };
  const bytes = systemRandom(64);
  return { reportData: bytes, drawn: [{ path: random!, bytes }] };
}

/** What the table holds; null where it is no table, which is the host's doing and for the verifier to refuse. */
function tableKinds(table: Uint8Array): readonly string[] | null {
  try {
    return parseCertificateTable(table).map(({ kind }) => kind);
  } catch {
    return null;
  }
}
