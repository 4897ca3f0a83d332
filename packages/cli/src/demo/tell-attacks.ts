import { type Attack, modeNames, refuserInWords, runAttacks, type TriedAttack } from '../attacks/index.js';
import type { Context, Result } from '../frame/command.js';
import type { Screen } from '../frame/screen.js';

/** Tries every attack of the catalogue and says of each who refused it and where. */
export async function tellAttacks({ io, progress }: Context, screen: Screen | undefined): Promise<Result> {
  let flow: Attack['flow'] | undefined;
  let mode: TriedAttack['mode'] | undefined;
  const tried = await runAttacks({
    signal: io.stopSignal(),
    progress: (what) => progress.step(what),
    tried(each) {
      if (screen === undefined) return;
      progress.clear();
      if (mode !== each.mode || flow !== each.attack.flow) {
        screen.line();
        screen.line(screen.paint('strong', `${modeNames[each.mode]}: ${each.attack.flow}`));
      }
      ({ mode } = each);
      ({ flow } = each.attack);
      drawAttack(screen, each);
    },
  });
  progress.clear();
  const wrong = tried.filter(({ asDeclared }) => !asDeclared);
  return {
    exit: wrong.length === 0 ? 0 : 1,
    json: { scenario: 'attacks', accepted: wrong.length === 0, attacks: tried.map(attackToJson) },
    render(closing) {
      const limits = tried.filter(({ attack }) => attack.limit !== undefined).length;
      closing.line();
      closing.line(
        `${tried.length} attacks: ${tried.length - limits - wrong.length} refused or without effect, ${limits} that succeed, and are named as limits.`,
      );
      for (const { attack } of wrong)
        closing.line(closing.paint('bad', `${attack.id} did not end as it must`));
    },
  };
}

function drawAttack(screen: Screen, { attack, outcome, asDeclared }: TriedAttack): void {
  const { limit, title } = attack;
  const mark = !asDeclared
    ? screen.paint('bad', '✘')
    : limit
      ? screen.paint('warning', '!')
      : screen.paint('good', '✔');
  screen.line(`${mark} ${title}`);
  if (limit === undefined) {
    const who =
      outcome.refusedBy === 'harmless' ? 'no effect' : `refused by ${refuserInWords(outcome.refusedBy)}`;
    screen.line(`    ${who}: ${screen.paint('strong', outcome.at)}`);
  } else {
    screen.line(`    ${screen.paint('warning', 'succeeds')}: ${outcome.at}, because ${limit.why}`);
    screen.line(`    what catches it: ${limit.caughtBy}`);
  }
  screen.line(screen.paint('quiet', `    ${outcome.evidence}`));
}

function attackToJson({ attack, mode, outcome, asDeclared }: TriedAttack) {
  const { id, title, limit } = attack;
  return { id, mode, title, ...outcome, asDeclared, ...(limit === undefined ? {} : { limit }) };
}
