import type { Result } from '../../frame/command.js';
import type { Screen } from '../../frame/screen.js';
import { drawSights, storyToJson, type Telling, tellStory } from '../tell-story.js';
import type { Ending } from './restarts.js';
import { type SnpStory, snpDemo, type TriedRestart } from './snp-demo.js';

/** Tells a SEV-SNP launch and the restarts after it on the screen, and gives back what they came to. */
export async function tellSnp(given: Omit<Telling, 'title'>): Promise<Result> {
  const title = 'SEV-SNP: from an owner’s signature to a disk that unlocks itself, in its place alone';
  const story = await tellStory({ ...given, title }, snpDemo);
  return {
    exit: story.accepted ? 0 : 1,
    json: { ...storyToJson('snp', story), first: story.first, restarts: story.restarts.map(restartToJson) },
    render(closing) {
      drawSights(closing, story);
      closing.table(
        ['', 'the machine is switched off and on, and', 'its sealed disk'],
        story.restarts.map((each) => drawnRestart(closing, each)),
      );
      closing.line();
      closing.line(
        story.accepted
          ? closing.paint('good', 'The disk opens where and for whom it was sealed, and nowhere else.')
          : closing.paint('bad', whatFailed(story)),
      );
      closing.line();
    },
  };
}

function drawnRestart(screen: Screen, { restart, ending, asExpected }: TriedRestart): string[] {
  const mark = asExpected ? screen.paint('good', '✔') : screen.paint('bad', '✘');
  return [mark, restart.what, endingText(ending)];
}

function endingText(ending: Ending): string {
  return ending.opens ? 'opens' : `stays locked, because of the ${ending.refusedBy}: ${ending.at}`;
}

function whatFailed({ first, restarts }: SnpStory): string {
  if (!first.opens) return `The first launch: the disk ${endingText(first)}.`;
  const wrong = restarts.filter(({ asExpected }) => !asExpected).map(({ restart }) => restart.what);
  return `Not as it must be: ${wrong.join('; ')}.`;
}

function restartToJson({ restart: { id, what, expected }, ending, asExpected }: TriedRestart) {
  return { id, what, ...ending, expected, asExpected };
}
