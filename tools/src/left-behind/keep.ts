import { appendFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where `tools/test` wants what tests would otherwise throw away; in other runs nothing is kept. */
export const keptFolder = (): string | undefined => process.env['VOUCHSAFE_LEFT_BEHIND'];

export type Place = 'logs' | 'errors' | 'metrics' | 'findings' | 'searched';

/** Keeps a log, an error or metrics until the end of the run, when the tests' secrets are looked for in them. */
export function keep(place: Place, text: string | Uint8Array): void {
  const folder = keptFolder();
  if (folder !== undefined) appendFileSync(join(folder, `${place}-${process.pid}`), text);
}
