import type { Platform } from '@vouchsafe/host';
import { command, type Result } from '../../frame/command.js';
import { processorOptions, withProcessor } from './processor.js';

/** Three commands that change the platform's keys and differ in how many. */
function keyCommand(declaration: {
  description: string;
  line: string;
  done: string;
  run(platform: Platform): Promise<void>;
}) {
  const { description, line, done, run } = declaration;
  return command({
    description,
    arguments: {},
    options: processorOptions,
    examples: [{ line, explains: 'chain files that were exported earlier are void afterwards' }],
    run: (input) =>
      withProcessor(input, async ({ platform }): Promise<Result> => {
        await run(platform);
        return { exit: 0, json: { done: true }, render: (screen) => screen.line(done) };
      }),
  });
}

export const rotate = keyCommand({
  description: 'Makes a new PDH (PDH_GEN): sessions that were made for the old one cannot be used any more.',
  line: 'platform rotate',
  done: 'The platform has a new PDH.',
  run: (platform) => platform.rotate(),
});

export const regenerate = keyCommand({
  description: 'Makes a new OCA, PEK and PDH (PEK_GEN): the platform owns itself again.',
  line: 'platform regenerate',
  done: 'The platform owns itself, with a new OCA, PEK and PDH.',
  run: (platform) => platform.regenerate(),
});

export const reset = keyCommand({
  description:
    'Erases all that the platform keeps (PLATFORM_RESET): it owns itself again, with new keys at the next use. The chip id remains.',
  line: 'platform reset',
  done: 'The platform was reset: its keys are erased, and made anew at the next use.',
  run: (platform) => platform.reset(),
});
