import type { Result } from '../../frame/command.js';
import type { Screen } from '../../frame/screen.js';
import { drawSights, storyToJson, type Telling, tellStory } from '../tell-story.js';
import type { Spread } from './cold-starts.js';
import { type ContainersStory, containersDemo } from './containers-demo.js';

export interface TellContainers extends Omit<Telling, 'title'> {
  readonly starts: number;
}

/** Tells of an encrypted image and the machine that opens it, and gives back what its cold starts came to. */
export async function tellContainers({ starts, ...given }: TellContainers): Promise<Result> {
  const title = 'Containers: an encrypted image, and the machines that may open it';
  const story = await tellStory({ ...given, title }, (play) => containersDemo({ ...play, starts }));
  const { encryptedBy, layers, matching, readableLayers, coldStarts } = story;
  return {
    exit: story.accepted ? 0 : 1,
    json: {
      ...storyToJson('containers', story),
      image: { encryptedBy, layers, matching, readableByHost: readableLayers },
      coldStarts,
    },
    render(closing) {
      drawSights(closing, story);
      drawColdStarts(closing, story);
      closing.line();
      closing.line(
        story.accepted
          ? closing.paint('good', 'The image is open inside, and ciphertext everywhere else.')
          : closing.paint('bad', 'Not as it must be: see the numbers above.'),
      );
      closing.line();
    },
  };
}

function drawColdStarts(screen: Screen, { coldStarts, encryptedBy, matching }: ContainersStory): void {
  const { starts, attested, rounds, coldStart, attestation, share, keyService } = coldStarts;
  screen.facts([
    ['encrypted by', encryptedBy],
    ['cold starts', `${starts}, ${attested} attested, in ${rounds} rounds; ${matching} opened the image`],
    ['a cold start', spreadText(coldStart, milliseconds)],
    ['of which attestation', spreadText(attestation, milliseconds)],
    ['its share', spreadText(share, (part) => `${(part * 100).toFixed(1)} %`)],
    [
      'key service asked',
      `${keyService.beforeFirst} times before the first start, ${keyService.first} during it, ${keyService.later} after it`,
    ],
  ]);
}

const milliseconds = (time: number) => `${time.toFixed(1)} ms`;
const spreadText = ({ median, p99 }: Spread, text: (value: number) => string) =>
  `median ${text(median)}, p99 ${text(p99)}`;
