import { configuredState, recoverAdministration } from '@vouchsafe/broker';
import { systemRandom } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { writeOutputs } from '../../../frame/files.js';
import { number, withDefault } from '../../../frame/options.js';
import { dataOption, filesIn, moreData } from '../data-folder.js';

export const recover = command({
  description:
    'Makes a token with every role when the last administrator’s has expired or was lost, and puts it where ' +
    '`broker init` put the first, in its stead. It asks no broker: the folder and its master key are what it takes, so ' +
    'run it as the user that the broker runs as. A broker that is running may go on; the token is good there at once. ' +
    'The record says that a token was recovered.',
  arguments: {},
  options: {
    ...dataOption,
    tokenDays: withDefault(
      number('--token-days <n>', 'how long the token is good', { least: 1, most: 90 }),
      30,
    ),
  },
  examples: [
    { line: 'broker token recover', explains: 'of the broker in .vouchsafe/broker' },
    { line: 'broker token recover --data broker --token-days 1', explains: 'for what has to be done today' },
  ],
  async run({ data, tokenDays }, { io }): Promise<Result> {
    const file = filesIn(data).token;
    const { state } = await configuredState(data, {
      environment: io.env,
      random: systemRandom,
      now: Date.now,
    });
    const made = await recoverAdministration({
      ...state,
      lifetime: tokenDays * 24 * 3_600_000,
    }).finally(() => state.masterKey.close());
    const bytes = new TextEncoder().encode(`${made.token}\n`);
    await writeOutputs([{ path: file, bytes, secret: true }], { overwrite: true });
    return {
      exit: 0,
      json: { folder: data, id: made.id, token: file, tokenExpires: made.expiresAt },
      render(screen) {
        screen.line(`Wrote ${file}: token ${made.id}, with every role, until ${made.expiresAt}`);
        screen.line();
        screen.line('What to do next, while the broker runs:');
        screen.line(`  vouchsafe broker token list${moreData(data)}`);
        screen.line(
          `  vouchsafe broker token revoke${moreData(data)} ID   # each that was lost and has not expired`,
        );
      },
    };
  },
});
