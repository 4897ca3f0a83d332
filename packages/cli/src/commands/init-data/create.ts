import {
  initDataAnnotation,
  initDataAnnotationName,
  initDataDigest,
  initDataDisk,
  initDataText,
} from '@vouchsafe/protocol';
import { InvalidArgumentError, toHex } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, type OutputFile, readInput, writeOutputs } from '../../frame/files.js';
import { argumentList, choice, path, withDefault } from '../../frame/options.js';

export const create = command({
  description:
    'Makes an init-data document: the settings of a pod’s guest agent and its policy, which the host hands over and the ' +
    'guest’s HOST_DATA binds. It can be written as the document, as a pod’s annotation and as a disk. It is no place for ' +
    'secrets: the host reads it.',
  arguments: { files: argumentList('file', 'what goes in: NAME=PATH, or PATH under its own name') },
  options: {
    algorithm: withDefault(
      choice('--algorithm <name>', 'hash that binds it', ['sha256', 'sha384', 'sha512'] as const),
      'sha256',
    ),
    out: path('--out <file>', 'write the document'),
    annotation: path('--annotation <file>', `write the value of the annotation ${initDataAnnotationName}`),
    disk: path('--disk <file>', 'write the image of a disk for the guest'),
  },
  examples: [
    {
      line: 'init-data create aa.toml cdh.toml policy.rego --out init-data.toml --annotation annotation.txt',
      explains: 'for a pod of Confidential Containers',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { algorithm, out, annotation, disk } = input;
    const files: Record<string, string> = {};
    for (const given of input.files) {
      const [, name, file] = /^(?:([^=/]+)=)?(.+)$/s.exec(given) ?? [];
      if (file === undefined) throw new InvalidArgumentError('file', 'expected NAME=PATH or PATH');
      const key = name ?? file.slice(file.lastIndexOf('/') + 1);
      if (Object.hasOwn(files, key)) throw new InvalidArgumentError('file', `${key} is given twice`);
      files[key] = textOf(await readInput(file, key, io), file);
    }
    const toml = initDataText(files, algorithm);
    const digest = toHex(await initDataDigest(toml));
    const outputs: OutputFile[] = [];
    const utf8 = (text: string) => new TextEncoder().encode(text);
    if (out !== undefined) outputs.push({ path: out, bytes: utf8(toml) });
    if (annotation !== undefined)
      outputs.push({ path: annotation, bytes: utf8(await initDataAnnotation(toml)) });
    if (disk !== undefined) outputs.push({ path: disk, bytes: await initDataDisk(toml) });
    await writeOutputs(outputs, { overwrite: true });
    return {
      exit: 0,
      json: { hostData: digest, algorithm, document: toml, files: outputs.map(describeOutput) },
      render(screen) {
        for (const { path: written } of outputs) screen.line(`Wrote ${written}`);
        if (outputs.length === 0) screen.line(toml);
        screen.line(`HOST_DATA of the guest: ${digest}`);
      },
    };
  },
});

function textOf(content: Uint8Array, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
  } catch {
    throw new InvalidArgumentError('file', `${file} is not text`);
  }
}
