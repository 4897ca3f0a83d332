import { rm } from 'node:fs/promises';
import { addressIn, configuredBroker, openBroker } from '@vouchsafe/broker';
import { systemRandom } from '@vouchsafe/sev';
import type { Result } from '../../frame/command.js';
import { writeOutputs } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { untilStopped } from '../stay.js';
import { filesIn } from './data-folder.js';

export interface FolderInput {
  readonly data: string;
  readonly listen?: string | undefined;
  readonly acceptClock: boolean;
  readonly log: 'silent' | 'error' | 'warn' | 'info' | 'debug';
}

/** The key broker of a folder. */
export async function serveFolder(input: FolderInput, io: Io): Promise<Result> {
  const { data, listen, acceptClock, log } = input;
  const configured = await configuredBroker(data, {
    environment: io.env,
    random: systemRandom,
    now: Date.now,
  });
  const { address: addressFile } = filesIn(data);
  try {
    const broker = await openBroker({
      ...configured.options,
      acceptClock,
      log: { level: log, write: (line) => void io.stderr.write(line) },
    });
    const end = async () => {
      await rm(addressFile, { force: true });
      await broker.close();
      configured.close();
    };
    try {
      const address = await broker.listen(listen === undefined ? configured.address : addressIn(listen));
      await writeOutputs([{ path: addressFile, bytes: new TextEncoder().encode(`${address}\n`) }], {
        overwrite: true,
      });
      const roots = configured.options.roots.map(({ name }) => name);
      return {
        exit: 0,
        json: { address, folder: data, roots },
        render(screen) {
          screen.line(`Key broker at ${address}`);
          screen.line(`  trusts ${roots.join('; ')}`);
          if (!broker.endorsements.ready)
            screen.line(`  ${screen.paint('warning', 'not ready')}: the key service has not answered yet`);
        },
        stay: (stop) => untilStopped(stop, end),
      };
    } catch (error) {
      await end();
      throw error;
    }
  } catch (error) {
    configured.close();
    throw error;
  }
}
