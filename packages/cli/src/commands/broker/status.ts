import { command, type Result } from '../../frame/command.js';
import { connectBroker } from './client.js';
import { clientOptions } from './data-folder.js';

interface StatusAnswer {
  readonly version: string;
  readonly replica: string;
  readonly database: string;
  readonly roots: readonly string[];
  readonly outsideCheckpoint: string | null;
  readonly obstacles: readonly string[];
}

export const status = command({
  description: 'Shows how a running broker is set up, and what keeps it from working.',
  arguments: {},
  options: clientOptions,
  examples: [{ line: 'broker status', explains: 'of the broker in .vouchsafe/broker' }],
  async run(input, { io }): Promise<Result> {
    const found = await (await connectBroker(input, io)).ask<StatusAnswer>('GET', '/status');
    const { obstacles } = found;
    return {
      exit: 0,
      json: found,
      render(screen) {
        screen.facts([
          ['version', found.version],
          ['replica', found.replica],
          ['database', found.database],
          ['roots', found.roots.join('; ')],
          ['checkpoint outside', found.outsideCheckpoint ?? 'none: a rollback could not be noticed'],
          [
            'state',
            obstacles.length === 0
              ? screen.paint('good', 'ready')
              : screen.paint('bad', obstacles.join('; ')),
          ],
        ]);
      },
    };
  },
});
