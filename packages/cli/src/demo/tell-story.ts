import type { Context } from '../frame/command.js';
import type { Screen } from '../frame/screen.js';
import type { NarrationEvent, SightEvent } from './narration.js';
import { drawEvent, drawHeading } from './sequence-picture.js';

/** What a demo that tells of messages between roles came to. */
export interface Story {
  /** Whether everything went as it must. */
  readonly accepted: boolean;
  readonly events: readonly NarrationEvent[];
  /** What the guest printed, at its first launch. */
  readonly console: readonly string[];
  readonly bootFiles: string;
}

/** What a story needs to be played. */
export interface Play {
  /** Folder of the development authority; demos that share it make its keys, which takes seconds, once. */
  readonly authority: string;
  readonly tell: (event: NarrationEvent) => void;
  readonly progress: (what: string) => void;
  /** Ends the demo early, with all its processes. */
  readonly signal?: AbortSignal | undefined;
}

export interface Telling {
  readonly title: string;
  readonly authority: string;
  readonly context: Context;
  readonly screen: Screen | undefined;
}

/** Draws a story on the screen while it happens. */
export async function tellStory<S extends Story>(
  { title, authority, context, screen }: Telling,
  play: (given: Play) => Promise<S>,
): Promise<S> {
  const { io, progress } = context;
  let begun = false;
  const story = await play({
    authority,
    signal: io.stopSignal(),
    progress: (what) => progress.step(what),
    tell(event) {
      if (screen === undefined) return;
      progress.clear();
      if (!begun) {
        begun = true;
        screen.line(screen.paint('strong', title));
        screen.line(
          'Each role is a process of its own. Yellow can be read by anyone, green only by those named.',
        );
        screen.line();
        drawHeading(screen);
      }
      drawEvent(screen, event);
    },
  });
  progress.clear();
  return story;
}

/** What of a story every demo's document has. */
export function storyToJson(scenario: string, { accepted, bootFiles, events }: Story) {
  const seen = sightTable(events).map(([subject, host, guest]) => ({ subject, host, guest }));
  return { scenario, accepted, bootFiles, events: events.filter(({ kind }) => kind !== 'sight'), seen };
}

/** The end of a story on the screen. */
export function drawSights(screen: Screen, { bootFiles, events }: Story): void {
  screen.line();
  screen.line(`Booted: ${bootFiles}.`);
  screen.line();
  screen.table(['', 'what the host saw', 'what the guest got'], sightTable(events));
  screen.line();
}

/** What the host saw against what the guest got, a row for each subject. */
function sightTable(events: readonly NarrationEvent[]): [subject: string, host: string, guest: string][] {
  const sights = events.filter((event): event is SightEvent => event.kind === 'sight');
  const of = (subject: string, seenBy: 'host' | 'guest') =>
    sights.find((each) => each.subject === subject && each.seenBy === seenBy)?.sight ?? '–';
  return [...new Set(sights.map(({ subject }) => subject))].map((subject) => [
    subject,
    of(subject, 'host'),
    of(subject, 'guest'),
  ]);
}
