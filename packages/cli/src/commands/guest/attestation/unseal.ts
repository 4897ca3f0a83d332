import { unlockSealedVolume, unseal as unsealContent } from '@vouchsafe/guest';
import { InvalidArgumentError, openSecret } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { describeOutput, readInput, writeOutputs } from '../../../frame/files.js';
import { argument, flag, path, text } from '../../../frame/options.js';
import { keyDevice } from './device.js';

export const unseal = command({
  description:
    'Inside a SEV-SNP guest: opens what `guest seal` sealed to this guest. The file itself says which key to derive. With ' +
    '--volume the content is the key of a volume, which is unlocked and never written anywhere.',
  arguments: { file: argument('file', 'the sealed file; - is standard input') },
  options: {
    device: keyDevice,
    out: path('--out <file>', 'where to write the content, mode 0600: best on a tmpfs'),
    volume: path('--volume <path>', 'block device or image file that the content is the key of'),
    name: text('--name <name>', 'with --volume: map it as /dev/mapper/NAME; else the key is tried'),
    force: flag('--force', 'replace the file if it is there'),
  },
  examples: [
    { line: 'guest unseal /boot/vdb.sealed --volume /dev/vdb --name data', explains: 'at every boot' },
    { line: 'guest unseal state.sealed --out /run/state', explains: 'a file' },
  ],
  async run({ file, device: open, out, volume, name, force }, { io }): Promise<Result> {
    if ((out === undefined) === (volume === undefined))
      throw new InvalidArgumentError('--out', 'give --out or --volume: one of the two');
    if (name !== undefined && volume === undefined)
      throw new InvalidArgumentError('--name', 'it names a volume: give --volume');
    const sealed = await readInput(file, 'sealed file', io);
    const device = open();
    try {
      if (volume !== undefined) {
        const unlocked = await unlockSealedVolume(device, sealed, {
          volume,
          ...(name === undefined ? {} : { name }),
        });
        const mapped = unlocked.kind === 'luks2' ? (unlocked.mapped ?? null) : null;
        return {
          exit: 0,
          json: { volume, kind: unlocked.kind, mapped },
          render: (screen) =>
            screen.line(mapped === null ? `The key unlocks ${volume}.` : `Unlocked ${volume} as ${mapped}.`),
        };
      }
      const secret = await unsealContent(device, sealed, file);
      const output = { path: out!, bytes: openSecret(secret), secret: true };
      const json = { files: [describeOutput(output)] };
      await writeOutputs([output], { overwrite: force }).finally(() => secret.zero());
      return { exit: 0, json, render: (screen) => screen.line(`Wrote ${out} (keep it secret)`) };
    } finally {
      await device.close();
    }
  },
});
