import type { Result } from '../../frame/command.js';
import { drawSights, storyToJson, type Telling, tellStory } from '../tell-story.js';
import { type Boot, bootDemo } from './boot-demo.js';

/** Tells of measured boots to an unlocked disk, and of their hostile twins, which get no key. */
export async function tellBoot(given: Omit<Telling, 'title'>): Promise<Result> {
  const title = 'Boot: kernel, initrd and command line are measured, and the disk opens for them alone';
  const story = await tellStory({ ...given, title }, bootDemo);
  return {
    exit: story.accepted ? 0 : 1,
    json: { ...storyToJson('boot', story), boots: story.boots },
    render(closing) {
      drawSights(closing, story);
      closing.table(
        ['machine', 'the host boots', 'its disk'],
        story.boots.map((boot) => [
          boot.mode === 'snp' ? 'SEV-SNP, key from a broker' : 'SEV-ES, key injected at launch',
          boot.changedInitrd ? 'the initrd with one byte changed' : 'what the owner expects',
          endText(boot),
        ]),
      );
      closing.line();
      closing.line(
        story.accepted
          ? closing.paint(
              'good',
              'One byte of the initrd decides: no key comes to a machine that boots another.',
            )
          : closing.paint('bad', 'Not as it must be: see the table above.'),
      );
      closing.line();
    },
  };
}

function endText({ unlocked, refused }: Boot): string {
  if (unlocked) return 'is unlocked';
  return refused === undefined ? 'stays locked' : `stays locked: refused by the ${refused.by}, ${refused.at}`;
}
