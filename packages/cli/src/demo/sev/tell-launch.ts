import type { Result } from '../../frame/command.js';
import { drawSights, storyToJson, type Telling, tellStory } from '../tell-story.js';
import { launchDemo } from './launch-demo.js';

const names = { sev: 'SEV', 'sev-es': 'SEV-ES' } as const;

/** Tells one launch on the screen while it happens, and gives back what it came to. */
export async function tellLaunch(mode: 'sev' | 'sev-es', given: Omit<Telling, 'title'>): Promise<Result> {
  const title = `${names[mode]}: from a platform’s keys to an unlocked disk`;
  const story = await tellStory({ ...given, title }, (play) => launchDemo(mode, play));
  return {
    exit: story.accepted ? 0 : 1,
    json: storyToJson(mode, story),
    render(closing) {
      drawSights(closing, story);
      closing.line(
        story.accepted
          ? closing.paint('good', `The ${names[mode]} guest proved what it is, and its disk is unlocked.`)
          : closing.paint('bad', 'The guest was refused.'),
      );
      closing.line();
    },
  };
}
