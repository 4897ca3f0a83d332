import { appraiseLaunchMeasurement, InvalidArgumentError, toHex } from '@vouchsafe/sev';
import { appraisalResult } from '../../frame/appraisal.js';
import { command } from '../../frame/command.js';
import { readPathOrBase64, readSecret } from '../../frame/files.js';
import { byte, flag, number } from '../../frame/options.js';
import { launchDigestOf, measurementOptions } from './inputs.js';

const { nonce: _nonce, ...options } = measurementOptions;

export const verify = command({
  description:
    'Compares a launch measurement, as the host relays it, with the one of the expected launch. Exit status 0: it is ' +
    'that launch on that platform under this session; 1: it is not.',
  arguments: {},
  options: {
    ...options,
    expectBuild: number('--expect-build <n>', 'the only firmware build to accept', byte),
    allowApiBelow017: flag(
      '--allow-api-below-0.17',
      'accept firmware that does not bind its version into the measurement',
    ),
  },
  examples: [
    {
      line:
        'measurement verify --api-major 1 --api-minor 40 --build-id 40 --policy 0x3 --tik vm_tik.bin ' +
        '--launch-measure-blob BLOB --launch-digest HEX',
      explains: 'BLOB is what query-sev-launch-measure or virsh domlaunchsecinfo prints',
    },
  ],
  async run(input, { io }) {
    const { apiMajor, apiMinor, buildId, policy, expectBuild, allowApiBelow017 } = input;
    if (input.launchMeasureBlob === undefined) {
      throw new InvalidArgumentError('--launch-measure-blob', 'it has to be given: it is what is verified');
    }
    const blob = await readPathOrBase64(input.launchMeasureBlob, '--launch-measure-blob', io, [48]);
    const digest = await launchDigestOf(input, io);
    const tik = await readSecret(input.tik, 'TIK', io, [16]);
    const appraisal = await appraiseLaunchMeasurement({
      blob,
      tik,
      policy,
      expectedDigests: [{ name: input.firmware ?? 'the given launch digest', digest }],
      platform: { apiMajor, apiMinor, buildId },
      ...(expectBuild === undefined ? {} : { expectedBuild: expectBuild }),
      allowApiBelow017,
    });
    tik.zero();
    return appraisalResult(appraisal, { json: { launchDigest: toHex(digest) } });
  },
});
