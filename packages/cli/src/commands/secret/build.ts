import {
  buildSecretPacket,
  buildSecretTable,
  InvalidArgumentError,
  parseLaunchMeasurement,
  systemRandom,
} from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, readPathOrBase64, readSecret, writeOutputs } from '../../frame/files.js';
import {
  argument,
  byte,
  hexOrBase64,
  number,
  path,
  repeated,
  required,
  text,
  withDefault,
} from '../../frame/options.js';
import { readSecretEntry } from './entries.js';

export const build = command({
  description:
    'Encrypts secrets for one launch: two files, header and payload, for QEMU’s sev-inject-launch-secret or virsh ' +
    'domsetlaunchsecstate. Verify the measurement first: the packet hands the secrets to whoever launched.',
  arguments: {
    header: argument('header', 'file to write the packet’s header to: 52 bytes'),
    payload: argument('payload', 'file to write the encrypted secret table to'),
  },
  options: {
    tik: required(path('--tik <file>', 'transport integrity key of the session: 16 bytes')),
    tek: required(path('--tek <file>', 'transport encryption key of the session: 16 bytes')),
    launchMeasureBlob: required(
      text('--launch-measure-blob <b64>', 'what LAUNCH_MEASURE returned: base64 of 48 bytes, or a file'),
    ),
    secret: repeated(text('--secret <guid:file>', 'a secret and the GUID that it is found by in the guest')),
    apiMajor: withDefault(number('--api-major <n>', 'major version of the platform’s API', byte), 1),
    apiMinor: withDefault(number('--api-minor <n>', 'minor version of the platform’s API', byte), 0),
    iv: hexOrBase64(
      '--iv <b64>',
      'initial counter block, for known answers only: the same one twice reveals both secrets',
      16,
    ),
  },
  examples: [
    {
      line:
        'secret build --tik vm_tik.bin --tek vm_tek.bin --launch-measure-blob BLOB ' +
        '--secret 736869e5-84f0-4973-92ec-06879ce3da0b:disk-key.txt header.bin payload.bin',
      explains: 'the disk key of a guest, under the GUID that its boot loader looks for',
    },
  ],
  async run(input, { io }): Promise<Result> {
    if (input.secret.length === 0) throw new InvalidArgumentError('--secret', 'at least one has to be given');
    const blob = await readPathOrBase64(input.launchMeasureBlob, '--launch-measure-blob', io, [48]);
    const { measurement } = parseLaunchMeasurement(blob);
    const tik = await readSecret(input.tik, 'TIK', io, [16]);
    const tek = await readSecret(input.tek, 'TEK', io, [16]);
    const entries = [];
    for (const each of input.secret) entries.push(await readSecretEntry(each, io));
    const plaintext = buildSecretTable(entries);
    const packet = await buildSecretPacket({
      tek,
      tik,
      iv: input.iv ?? systemRandom(16),
      measurement,
      plaintext,
      apiMajor: input.apiMajor,
      apiMinor: input.apiMinor,
    });
    for (const secret of [tik, tek, plaintext, ...entries.map(({ data }) => data)]) secret.zero();
    const files = [
      { path: input.header, bytes: packet.header },
      { path: input.payload, bytes: packet.payload },
    ];
    await writeOutputs(files, { overwrite: true });
    return {
      exit: 0,
      json: { files: files.map(describeOutput), guids: entries.map(({ guid }) => guid) },
      render(screen) {
        screen.line(`Wrote header to: ${input.header}`);
        screen.line(`Wrote payload to: ${input.payload}`);
      },
    };
  },
});
