import { parseSecretTable, wellKnownSecretGuids } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { readInput } from '../../frame/files.js';
import { argument } from '../../frame/options.js';

const wellKnownNames = new Map(
  Object.entries(wellKnownSecretGuids).map(([name, guid]) => [guid as string, name]),
);

export const tableShow = command({
  description:
    'Shows the entries of a secret table in plain text: GUIDs, lengths and where they stand. The secrets themselves ' +
    'are never printed.',
  arguments: { file: argument('file', 'the table, as the guest finds it in memory; - is standard input') },
  options: {},
  examples: [{ line: 'secret table show table.bin', explains: 'what a guest would find' }],
  async run({ file }, { io }): Promise<Result> {
    const bytes = await readInput(file, 'secret table', io);
    const entries = parseSecretTable(bytes).map(({ guid, offset, data }) => ({
      guid,
      name: wellKnownNames.get(guid) ?? null,
      offset,
      length: data.length,
    }));
    bytes.fill(0);
    return {
      exit: 0,
      json: { entries },
      render(screen) {
        screen.table(
          ['GUID', 'known as', 'offset', 'bytes'],
          entries.map(({ guid, name, offset, length }) => [
            guid,
            name ?? '',
            `0x${offset.toString(16)}`,
            String(length),
          ]),
        );
      },
    };
  },
});
