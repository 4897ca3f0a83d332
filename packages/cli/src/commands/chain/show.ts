import { certificateLine, summarizeChain } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { argumentList, flag } from '../../frame/options.js';
import { readChain } from './input.js';

export const show = command({
  description:
    'Shows the certificates of a SEV platform: a line for each, as sevctl prints it (usage, kinds of key, digest of the ' +
    'body), and with --fields every field. Nothing is verified.',
  arguments: { files: argumentList('file', 'certificates of one platform, in any usual packaging') },
  options: { fields: flag('--fields', 'show every field with its offset, name and meaning') },
  examples: [
    { line: 'chain show sev.chain', explains: 'a line for each certificate' },
    { line: 'chain show pek.cert --fields', explains: 'everything in the PEK certificate' },
  ],
  async run({ files, fields }, { io }): Promise<Result> {
    const chain = await readChain({ files, ca: undefined, root: undefined, kds: undefined }, io);
    const certificates = await summarizeChain(chain);
    return {
      exit: 0,
      json: { certificates },
      render(screen) {
        if (!fields) {
          for (const each of certificates) screen.line(certificateLine(each));
          return;
        }
        for (const each of certificates) {
          screen.line(screen.paint('strong', certificateLine(each)));
          screen.table(
            ['offset', 'field', 'value', 'meaning'],
            each.fields.map(({ offset, name, value, meaning }) => [
              `0x${offset.toString(16)}`,
              name,
              value.length > 40 ? `${value.slice(0, 37)}…` : value,
              meaning,
            ]),
          );
          screen.line();
        }
      },
    };
  },
});
