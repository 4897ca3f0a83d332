import { showExplanation } from '../../commands/broker/explain.js';
import type { Result } from '../../frame/command.js';
import { drawSights, storyToJson, type Telling, tellStory } from '../tell-story.js';
import { brokerDemo } from './broker-demo.js';

/** Tells of a denial, its explanation and a release on the screen, and gives back what they came to. */
export async function tellBroker(given: Omit<Telling, 'title'>): Promise<Result> {
  const title = 'A key broker: a denial, the reason that only the owner learns, and a release';
  const story = await tellStory({ ...given, title }, brokerDemo);
  const { accepted, explanation } = story;
  return {
    exit: accepted ? 0 : 1,
    json: { ...storyToJson('broker', story), explanation: explanation ?? null },
    render(closing) {
      drawSights(closing, story);
      if (explanation !== undefined) {
        closing.line(closing.paint('strong', `vouchsafe broker explain ${explanation.entry.reference}`));
        showExplanation(closing, explanation);
        closing.line();
      }
      closing.line(
        accepted
          ? closing.paint('good', 'Once its image was published, the same machine got its disk key.')
          : closing.paint('bad', 'It did not go as it must: see the steps above.'),
      );
      closing.line();
    },
  };
}
