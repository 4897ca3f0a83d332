import { InvalidArgumentError, parseSnpReport, toHex } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { choice, path, required } from '../../../frame/options.js';
import { processorOptions } from '../../platform/processor.js';
import { untilStopped } from '../../stay.js';
import { launchServedGuest } from './served-guest.js';
import { readServedGuest, servedGuestOptions } from './served-guest-options.js';

export const deviceServe = command({
  description:
    'For development: launches a SEV-SNP guest in the software machine and serves its attestation device, at a folder ' +
    'that behaves like configfs-tsm as far as ordinary files can, on a socket, or both. Its reports name the chip of the ' +
    'state folder and verify under that folder’s own root, and under no other.',
  arguments: {},
  options: {
    folder: path('--folder <dir>', 'where to serve it for programs that know configfs-tsm; is made'),
    socket: path('--socket <path>', 'unix socket to serve reports and keys on'),
    software: required(processorOptions.software),
    authority: processorOptions.authority,
    generation: choice('--generation <name>', 'what the software processor is made as (default: milan)', [
      'milan',
      'genoa',
      'turin',
    ] as const),
    ...servedGuestOptions,
  },
  examples: [
    {
      line: 'guest device serve --software .vouchsafe/machine --folder /tmp/report --socket /tmp/vsnp.socket',
      explains: 'until Ctrl-C',
    },
  ],
  async run(input, { io, progress }): Promise<Result> {
    const { folder, socket } = input;
    if (folder === undefined && socket === undefined)
      throw new InvalidArgumentError('--folder', 'give --folder, --socket or both');
    const configuration = await readServedGuest(input, io);
    progress.step('launching the guest');
    const guest = await launchServedGuest({ ...input, configuration });
    const closers: (() => Promise<void>)[] = [];
    const closeAll = async () => {
      for (const close of closers) await close();
      await guest.close();
    };
    try {
      const { serveAttestationFolder, serveAttestationSocket } = await import('@vouchsafe/guest');
      const { report } = await guest.device.report({ reportData: new Uint8Array(64) });
      const { measurement, chipId } = parseSnpReport(report);
      if (folder !== undefined) {
        const onProblem = (problem: string) => io.stderr.write(`${folder}: ${problem}\n`);
        closers.push((await serveAttestationFolder(guest.device, folder, { onProblem })).close);
      }
      if (socket !== undefined) closers.push((await serveAttestationSocket(guest.device, socket)).close);
      return {
        exit: 0,
        json: {
          folder: folder ?? null,
          socket: socket ?? null,
          measurement: toHex(measurement),
          chipId: toHex(chipId),
          root: guest.root,
        },
        render(screen) {
          screen.line(`A SEV-SNP guest of the software machine, measurement ${toHex(measurement)}`);
          if (folder !== undefined) screen.line(`Its device is at ${folder}, as configfs-tsm has it`);
          if (socket !== undefined) screen.line(`Its device is on the socket ${socket}`);
          screen.line(
            `Reports verify with --root ${guest.root.file} (${screen.paint('warning', guest.root.name)})`,
          );
        },
        stay: (stop) => untilStopped(stop, closeAll),
      };
    } catch (error) {
      await closeAll();
      throw error;
    }
  },
});
