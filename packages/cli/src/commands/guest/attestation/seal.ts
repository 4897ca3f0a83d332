import { open } from 'node:fs/promises';
import {
  type AttestationDevice,
  type DerivedKeyRequest,
  describeKeyRequest,
  formatSealedVolume,
  parseSealedFile,
  seal as sealContent,
} from '@vouchsafe/guest';
import { InvalidArgumentError, systemRandom } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { describeOutput, fileError, readInput, writeOutputs } from '../../../frame/files.js';
import type { Io } from '../../../frame/io.js';
import { flag, optionalArgument, path, required } from '../../../frame/options.js';
import { keyDevice } from './device.js';
import { keyOptions, readKeyRequest } from './key-options.js';

export const seal = command({
  description:
    'Inside a SEV-SNP guest: seals a file to a key that only this guest, as far as the chosen fields tell, can derive ' +
    'again; or formats a LUKS2 volume with a random key and seals that. An older sealed file that the host puts back ' +
    'still opens: sealing does not tell old from new.',
  arguments: { file: optionalArgument('file', 'what to seal; - is standard input') },
  options: {
    device: keyDevice,
    ...keyOptions,
    volume: path(
      '--volume <path>',
      'format this block device or image file instead: all that is in it is lost',
    ),
    out: required(path('--out <file>', 'where to write the sealed file, or the sealed key of the volume')),
    force: flag('--force', 'replace what is there'),
  },
  examples: [
    {
      line: 'guest seal /run/disk-key --fields measurement,svn,tcb --out /boot/disk-key.sealed',
      explains: 'no older image, and no older firmware of the chip, opens it',
    },
    {
      line: 'guest seal --volume /dev/vdb --out /boot/vdb.sealed',
      explains: 'a volume that only this image opens',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { file, volume, out, force } = input;
    const request = readKeyRequest(input);
    const device = input.device();
    try {
      const bytes = await sealed(device, request, { file, volume, force }, io);
      const output = { path: out, bytes, secret: true };
      const json = {
        volume: volume ?? null,
        boundTo: describeKeyRequest(parseSealedFile(bytes).request),
        files: [describeOutput(output)],
      };
      await writeOutputs([output], { overwrite: force });
      return {
        exit: 0,
        json,
        render(screen) {
          screen.line(
            volume === undefined
              ? `Wrote ${out}, sealed to:`
              : `Formatted ${volume}; its key is in ${out}, sealed to:`,
          );
          for (const each of json.boundTo) screen.line(`  ${each}`);
        },
      };
    } finally {
      await device.close();
    }
  },
});

async function sealed(
  device: AttestationDevice,
  request: DerivedKeyRequest,
  what: { readonly file: string | undefined; readonly volume: string | undefined; readonly force: boolean },
  io: Io,
): Promise<Uint8Array> {
  const { file, volume, force } = what;
  if ((file === undefined) === (volume === undefined))
    throw new InvalidArgumentError('file', 'give a file to seal, or --volume: one of the two');
  if (volume === undefined) {
    const content = await readInput(file!, 'file', io);
    return sealContent({ device, request, content, random: systemRandom }).finally(() => content.fill(0));
  }
  if (!force && (await beginsAsLuks(volume))) {
    throw new InvalidArgumentError('--volume', `${volume} is a LUKS volume already`, {
      hint: 'to lose what is in it, give --force',
    });
  }
  return formatSealedVolume({ device, request, volume, random: systemRandom });
}

const luksMagic = Uint8Array.of(0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe);

async function beginsAsLuks(volume: string): Promise<boolean> {
  try {
    const handle = await open(volume, 'r');
    try {
      const { buffer } = await handle.read(new Uint8Array(luksMagic.length), 0, luksMagic.length, 0);
      return luksMagic.every((byte, i) => byte === buffer[i]);
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw fileError(error, 'volume', volume, 'read');
  }
}
