import { open } from 'node:fs/promises';
import { copyLuksHeader, isLuksVolume } from '@vouchsafe/guest';
import { toHex } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { fileError } from '../../frame/files.js';
import { choice, flag, path, required, text, wideNumber, withDefault } from '../../frame/options.js';
import type { Screen } from '../../frame/screen.js';
import { readBootFiles, readFirmware } from '../launch-inputs.js';
import { examineBoot } from './examine.js';
import type { BootDisk } from './machine.js';
import type { BootPiece } from './pieces.js';

export const boot = command({
  description:
    'Lists what of a machine’s boot chain is measured, encrypted, gated by a secret, or open, and what an open piece lets ' +
    'the host do. It looks at the files that the machine is launched with; give it what the host is given. Ends with 1 ' +
    'when a piece is open.',
  arguments: {},
  options: {
    mode: required(choice('--mode <mode>', 'generation', ['sev', 'seves', 'snp'] as const)),
    policy: required(wideNumber('--policy <n>', 'guest policy')),
    firmware: required(path('--firmware <file>', 'firmware image')),
    kernel: path('--kernel <file>', 'kernel of a direct boot'),
    initrd: path('--initrd <file>', 'its initrd'),
    append: text('--append <text>', 'its command line'),
    kernelHashes: withDefault(
      choice('--kernel-hashes <state>', 'QEMU’s kernel-hashes of the launch', ['on', 'off'] as const),
      'on',
    ),
    variables: flag('--variables', 'the machine has a volume for the firmware’s variables'),
    bootLoader: choice('--boot-loader <place>', 'without --kernel: where the boot loader is', [
      'firmware',
      'disk',
    ] as const),
    disk: path('--disk <file>', 'the root disk; without it, all that runs is in the initrd'),
    diskKey: choice('--disk-key <source>', 'where its key comes from, if the command line does not say', [
      'injected',
      'broker',
      'typed',
    ] as const),
    initData: choice('--init-data <state>', 'init-data is handed over: HOST_DATA is compared, or not', [
      'bound',
      'unbound',
    ] as const),
  },
  examples: [
    {
      line: 'check boot --mode snp --policy 0x30000 --firmware OVMF.fd --kernel vmlinuz --initrd initrd.img --append "vouchsafe.key=kbs:///default/disk/root" --disk root.img',
      explains: 'a measured kernel whose initrd asks a broker for the key of the disk',
    },
    {
      line: 'check boot --mode sev --policy 0xb --firmware OVMF.fd --boot-loader firmware --disk root.img --disk-key injected',
      explains: 'firmware that carries its boot loader, and an injected key',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { mode, policy, kernel: kernelFile, initrd: initrdFile } = input;
    const { kernel, initrd, append } = await readBootFiles(
      { kernel: kernelFile, initrd: initrdFile, commandLine: input.append },
      { initrd: '--initrd', commandLine: '--append' },
      io,
    );
    const pieces = examineBoot({
      mode,
      policy,
      firmware: await readFirmware(input.firmware, io),
      kernel,
      initrd,
      commandLine: append,
      kernelHashes: input.kernelHashes === 'on',
      variables: input.variables,
      bootLoader: input.bootLoader,
      disk: await readDisk(input.disk, input.diskKey),
      initData: input.initData,
    });
    const opened = pieces.filter(({ state }) => state === 'open');
    return {
      exit: opened.length === 0 ? 0 : 1,
      json: { open: opened.map(({ id }) => id), pieces },
      render: (screen) => showPieces(screen, pieces, opened),
    };
  },
});

async function readDisk(
  volume: string | undefined,
  key: 'injected' | 'broker' | 'typed' | undefined,
): Promise<BootDisk> {
  if (volume === undefined) return { kind: 'none' };
  if (!isLuksVolume(await readBeginning(volume))) return { kind: 'plain' };
  const header = await copyLuksHeader({ volume });
  await header.remove();
  const failed = header.appraisal.checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
  return { kind: 'luks2', failed, binding: toHex(header.binding), key };
}

async function readBeginning(volume: string): Promise<Uint8Array> {
  try {
    const file = await open(volume, 'r');
    try {
      const { buffer, bytesRead } = await file.read(new Uint8Array(16), 0, 16, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw fileError(error, 'disk', volume, 'read');
  }
}

function showPieces(screen: Screen, pieces: readonly BootPiece[], opened: readonly BootPiece[]): void {
  const colours = {
    measured: 'good',
    encrypted: 'good',
    gated: 'good',
    open: 'bad',
    absent: 'quiet',
  } as const;
  screen.table(
    ['', 'piece', 'because'],
    pieces.map(({ title, state, because }) => [screen.paint(colours[state], state), title, because]),
  );
  for (const { title, lets = '', hint = '' } of opened) {
    screen.line();
    screen.line(`${screen.paint('bad', 'open')}: ${title}`);
    screen.facts([
      ['  lets the host', lets],
      ['  to close it', hint],
    ]);
  }
  screen.line();
  screen.line(
    opened.length === 0
      ? screen.paint('good', 'No piece of this boot chain is open.')
      : screen.paint(
          'bad',
          `${opened.length} of ${pieces.length} pieces ${opened.length === 1 ? 'is' : 'are'} open.`,
        ),
  );
}
