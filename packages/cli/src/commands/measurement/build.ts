import { concat, InvalidArgumentError, measureLaunch, toBase64, toHex } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { readPathOrBase64, readSecret, writeOutputs } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { path } from '../../frame/options.js';
import { launchDigestOf, measurementOptions } from './inputs.js';

export const build = command({
  description:
    'Computes the launch measurement that a genuine platform answers, and prints base64 of measurement ‖ nonce: what ' +
    'QEMU’s query-sev-launch-measure prints when the launch is the expected one.',
  arguments: {},
  options: {
    ...measurementOptions,
    outfile: path('--outfile <file>', 'write the 48 bytes to a file instead'),
  },
  examples: [
    {
      line:
        'measurement build --api-major 1 --api-minor 40 --build-id 40 --policy 0x3 --tik vm_tik.bin ' +
        '--launch-measure-blob BLOB --firmware OVMF.fd',
      explains: 'compare the printed line with the blob that the host gave',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { apiMajor, apiMinor, buildId, policy, outfile } = input;
    const mnonce = await nonceOf(input, io);
    const launchDigest = await launchDigestOf(input, io);
    const tik = await readSecret(input.tik, 'TIK', io, [16]);
    const measurement = await measureLaunch({
      tik,
      apiMajor,
      apiMinor,
      buildId,
      policy,
      launchDigest,
      mnonce,
    });
    tik.zero();
    const blob = concat(measurement, mnonce);
    if (outfile !== undefined) await writeOutputs([{ path: outfile, bytes: blob }], { overwrite: true });
    return {
      exit: 0,
      json: {
        blob: toBase64(blob),
        measurement: toHex(measurement),
        nonce: toHex(mnonce),
        launchDigest: toHex(launchDigest),
        ...(outfile === undefined ? {} : { outfile }),
      },
      render: (screen) => screen.line(outfile === undefined ? toBase64(blob) : `Wrote outfile: ${outfile}`),
    };
  },
});

async function nonceOf(
  input: { nonce: string | undefined; launchMeasureBlob: string | undefined },
  io: Io,
): Promise<Uint8Array> {
  const { nonce, launchMeasureBlob } = input;
  if ((nonce === undefined) === (launchMeasureBlob === undefined)) {
    throw new InvalidArgumentError(
      '--nonce',
      'give either it or --launch-measure-blob, whose last 16 bytes are the nonce',
    );
  }
  if (nonce !== undefined) return readPathOrBase64(nonce, '--nonce', io, [16]);
  return (await readPathOrBase64(launchMeasureBlob!, '--launch-measure-blob', io, [48])).subarray(32);
}
