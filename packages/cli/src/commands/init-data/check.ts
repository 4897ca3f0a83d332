import { join } from 'node:path';
import { type AttestationDevice, appraiseInitData, initDataChecks } from '@vouchsafe/guest';
import { initDataDigest, parseInitData } from '@vouchsafe/protocol';
import {
  type Appraisal,
  Appraiser,
  equalBytes,
  InvalidArgumentError,
  parseSnpReport,
  toHex,
  verdict,
} from '@vouchsafe/sev';
import { appraisalResult } from '../../frame/appraisal.js';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, writeOutputs } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { argument, hexOrBase64, path } from '../../frame/options.js';
import { attestationDevice } from '../guest/attestation/device.js';
import { readEvidence } from '../report/evidence-file.js';
import { readInitData } from './input.js';

export const check = command({
  description:
    'Holds init-data against HOST_DATA. Inside a SEV-SNP guest that is the HOST_DATA of a fresh report, and what passes is ' +
    'what the owner launched this guest with; elsewhere name the value, or a report, which `report verify` has to accept ' +
    'first. With --out the files in it are written once it has passed.',
  arguments: { file: argument('file', 'the document, a pod’s annotation or a disk, such as /dev/vdb') },
  options: {
    hostData: hexOrBase64('--host-data <hex>', 'what HOST_DATA is', 32),
    report: path('--report <file>', 'an attestation report; only its HOST_DATA is looked at'),
    device: attestationDevice,
    out: path('--out <dir>', 'write the files into this folder'),
  },
  examples: [
    {
      line: 'init-data check /dev/vdb --out /run/confidential-containers/initdata',
      explains: 'in the guest, before the agent starts',
    },
    { line: 'init-data check init-data.toml --report report.bin', explains: 'at the owner’s desk' },
  ],
  async run(input, { io }): Promise<Result> {
    const { file, out } = input;
    const { toml, form } = await readInitData(file, io);
    const appraisal = await appraise(await initDataDigest(toml), input, io);
    const { data } = parseInitData(toml);
    const outputs = out === undefined ? [] : Object.entries(data).map((entry) => outputOf(out, entry));
    const written = verdict(appraisal).accepted ? outputs : [];
    await writeOutputs(written, { overwrite: true });
    return appraisalResult(appraisal, {
      json: { form, names: Object.keys(data), files: written.map(describeOutput) },
      render(screen) {
        for (const { path: each } of written) screen.line(`Wrote ${each}`);
      },
    });
  },
});

interface HostDataInput {
  readonly hostData: Uint8Array | undefined;
  readonly report: string | undefined;
  readonly device: () => AttestationDevice;
}

async function appraise(digest: Uint8Array, input: HostDataInput, io: Io): Promise<Appraisal> {
  const { hostData, report } = input;
  if (hostData !== undefined && report !== undefined)
    throw new InvalidArgumentError('--host-data', 'give --host-data or --report, not both');
  if (hostData !== undefined) return compare(digest, hostData);
  if (report !== undefined)
    return compare(digest, parseSnpReport((await readEvidence(report, io)).report).hostData);
  const device = input.device();
  try {
    return await appraiseInitData(device, digest);
  } finally {
    await device.close();
  }
}

function compare(digest: Uint8Array, hostData: Uint8Array): Appraisal {
  const appraiser = new Appraiser('init-data', initDataChecks);
  appraiser.report('init-data.host-data', equalBytes(digest, hostData), {
    expected: toHex(digest),
    found: toHex(hostData),
  });
  return appraiser.finish();
}

/** Names come from a document that has passed, and still lead nowhere else. */
function outputOf(folder: string, [name, text]: readonly [string, string]) {
  if (!/^[A-Za-z0-9_-][A-Za-z0-9_.-]*$/.test(name))
    throw new InvalidArgumentError('init-data', `${JSON.stringify(name.slice(0, 64))} is no name of a file`);
  return { path: join(folder, name), bytes: new TextEncoder().encode(text) };
}
