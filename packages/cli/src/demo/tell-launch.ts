import type { Context, Result } from '../frame/command.js';
import type { Screen } from '../frame/screen.js';
import { launchDemo, sightTable } from './launch-demo.js';
import { drawEvent, drawHeading } from './sequence-picture.js';

const names = { sev: 'SEV', 'sev-es': 'SEV-ES' } as const;

/** Tells one launch on the screen while it happens, and gives back what it came to. */
export async function tellLaunch(
  mode: 'sev' | 'sev-es',
  authority: string,
  { io, progress }: Context,
  screen: Screen | undefined,
): Promise<Result> {
  let begun = false;
  const story = await launchDemo({
    mode,
    authority,
    signal: io.stopSignal(),
    progress: (what) => progress.step(what),
    tell(event) {
      if (screen === undefined) return;
      progress.clear();
      if (!begun) {
        begun = true;
        screen.line(screen.paint('strong', `${names[mode]}: from a platform’s keys to an unlocked disk`));
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
  const rows = sightTable(story.events);
  return {
    exit: story.accepted ? 0 : 1,
    json: {
      scenario: mode,
      accepted: story.accepted,
      bootFiles: story.bootFiles,
      events: story.events.filter(({ kind }) => kind !== 'sight'),
      seen: rows.map(([subject, host, guest]) => ({ subject, host, guest })),
    },
    render(closing) {
      closing.line();
      closing.line(`Booted: ${story.bootFiles}.`);
      closing.line();
      closing.table(['', 'what the host saw', 'what the guest got'], rows);
      closing.line();
      closing.line(
        story.accepted
          ? closing.paint('good', `The ${names[mode]} guest proved what it is, and its disk is unlocked.`)
          : closing.paint('bad', 'The guest was refused.'),
      );
      closing.line();
    },
  };
}
