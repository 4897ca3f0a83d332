import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Context, Result } from '../frame/command.js';
import { screenOn } from '../frame/screen.js';

export const scenarios = ['sev', 'sev-es', 'snp', 'broker', 'boot', 'containers', 'attacks', 'all'] as const;
export type Scenario = (typeof scenarios)[number];

export interface DemoOptions {
  /** Machines that `containers` starts. */
  readonly starts?: number | undefined;
  /** Folder of a development authority, which is left as it is; a new one when absent. */
  readonly authority?: string | undefined;
}

/** Runs a scenario, or without one all launches, and says what to try next. */
export async function runDemo(
  scenario: Scenario | undefined,
  context: Context,
  { starts = 1, authority: given }: DemoOptions = {},
): Promise<Result> {
  const parts = partsOf(scenario);
  const screen = context.json ? undefined : screenOn(context.io.stdout, context.io.env);
  const results: Result[] = [];
  const authority = given ?? (await mkdtemp(join(tmpdir(), 'vouchsafe-authority-')));
  try {
    for (const part of parts) {
      const result = await play(part, context);
      results.push(result);
      if (screen !== undefined) result.render(screen);
    }
  } finally {
    if (given === undefined) await rm(authority, { recursive: true, force: true });
  }
  const exit = results.every((result) => result.exit === 0) ? 0 : 1;
  return {
    exit,
    json:
      results.length === 1
        ? results[0]?.json
        : { accepted: exit === 0, demos: results.map(({ json }) => json) },
    render(closing) {
      if (scenario !== undefined) return;
      closing.line(closing.paint('strong', 'Try next'));
      closing.facts([
        ['npx vouchsafe demo attacks', 'everything that hostile hosts and clients try, and who refuses it'],
        ['npx vouchsafe policy explain 0x1', 'what QEMU’s default policy lets a host do'],
        ['npx vouchsafe platform status --software ./chip', 'a software secure processor of your own'],
        ['npx vouchsafe --help', 'all commands; docs/coming-from.md for users of sevctl and sev-tool'],
      ]);
    },
  };

  async function play(part: Exclude<Scenario, 'all'>, given: Context): Promise<Result> {
    if (part === 'attacks') return (await import('./tell-attacks.js')).tellAttacks(given, screen);
    const telling = { authority, context: given, screen };
    if (part === 'snp') return (await import('./snp/tell-snp.js')).tellSnp(telling);
    if (part === 'broker') return (await import('./broker/tell-broker.js')).tellBroker(telling);
    if (part === 'boot') return (await import('./boot/tell-boot.js')).tellBoot(telling);
    if (part === 'containers')
      return (await import('./containers/tell-containers.js')).tellContainers({ ...telling, starts });
    return (await import('./sev/tell-launch.js')).tellLaunch(part, telling);
  }
}

function partsOf(scenario: Scenario | undefined): readonly Exclude<Scenario, 'all'>[] {
  const launches = ['sev', 'sev-es', 'snp'] as const;
  if (scenario === undefined) return launches;
  return scenario === 'all' ? [...launches, 'broker', 'boot', 'containers', 'attacks'] : [scenario];
}
